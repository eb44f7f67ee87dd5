/* What the files of src/ctl share. README.md has the threads and who may touch what. */
#ifndef PINFS_CTL_SERVER_H
#define PINFS_CTL_SERVER_H

#include "base/arith.h"
#include "base/lock.h"
#include "ctl/ctl.h"
#include "ctl/user.h"
#include "format/format.h"
#include "fs/pins.h"
#include "region/region.h"
#include "wire/wire.h"

#include <stdatomic.h>
#include <sys/queue.h>

#define HASH_NONFATAL_OOM 1 /* an addition without memory leaves hh.tbl NULL */
#include <uthash.h>

#define CTL_WORKERS 4u
#define CTL_RUNNING_MAX 2u /* requests of one session that workers are at */
#define CTL_QUEUED_MAX 1024u /* requests of one session that no worker has begun: more are not read */
#define CTL_REQUESTS_MAX 16384u /* of one session, with those that wait for others: more get ENOMEM */
#define CTL_OUT_MAX (256u << 10) /* bytes of answers that one client has not taken: more of it is not read */
#define CTL_USER_OUT_MAX (64u << 20) /* bytes of answers that one user's clients have not taken */
#define CTL_SILENT_MAX 64u /* connections of one user that have not said HELLO */
#define CTL_SILENT_NS (10 * CTL_NS_PER_S)
#define CTL_NS_PER_S 1000000000ull
#define CTL_CLOSING_FEW 4u /* descriptors of one user that wait for closers: with more the loop begins no pin of it */
#define CTL_FDS_ROOM 253u /* the kernel's SCM_MAX_FD: none is cut off, all are closed where closing may block */

/* What an epoll event belongs to. */
enum ctl_source {
	CTL_SOURCE_LISTENER,
	CTL_SOURCE_BELL,
	CTL_SOURCE_CONNECTION,
	CTL_SOURCE_EVENTS,
};

/* ---- Messages on their way to a client (send.c) ---- */

struct ctl_message {
	STAILQ_ENTRY(ctl_message) next;
	uint32_t size;
	uint32_t fd_count;
	int fds[2]; /* ours: closed once sent */
	_Alignas(8) unsigned char bytes[];
};
STAILQ_HEAD(ctl_messages, ctl_message);

/* With `size` zero bytes, and its header set. NULL: no memory. */
struct ctl_message *ctl_message_new(unsigned type, size_t size, uint64_t request, int error);
void ctl_messages_free(struct ctl_messages *list);
size_t ctl_messages_bytes(const struct ctl_messages *list);

/* ---- Requests that workers do (request.c) ---- */

struct ctl_word;

struct ctl_request {
	TAILQ_ENTRY(ctl_request) next; /* connection's queue; ctl->lock */
	TAILQ_ENTRY(ctl_request) next_begun; /* ctl->lock */
	UT_hash_handle hh; /* connection's requests by number; ctl->lock */
	struct ctl_connection *connection;
	struct fs_holder *holder; /* a reference; NULL: HELLO */
	uint64_t number;
	unsigned type;
	unsigned refs; /* ctl->lock */
	bool queued; /* in the queue, begun or not; ctl->lock */
	bool begun; /* a worker has taken it; it may be queued again, to be repeated; ctl->lock */
	bool interrupted; /* ctl->lock */
	bool answered; /* ctl->lock: not in `requests` any more */
	bool identified; /* PIN: the file is known */
	struct ctl_file *file; /* the descriptor that came with it, or NULL */
	uint32_t flags; /* PIN: WIRE_PIN_ */
	uint32_t asked_index; /* PIN: of its word, as the client says */
	uint32_t index; /* PIN: of the word that is taken for it, or WIRE_WORD_NONE */
	struct ctl_word *word; /* PIN, CACHED: memory of the entry that a grant makes */
	struct ctl_session *awaits; /* HELLO: the session whose old connection is ending; ctl->lock */
	char *path;
	union {
		struct fs_pin_request pin;
		struct fs_commit_request commit;
		struct wire_hello hello;
		struct wire_map map;
	};
};
TAILQ_HEAD(ctl_requests, ctl_request);

/* ---- Connections ---- */

enum ctl_state {
	CTL_STATE_NEW, /* has not said HELLO */
	CTL_STATE_GREETING, /* a worker is at its HELLO; nothing is read */
	CTL_STATE_OPEN,
	CTL_STATE_LINGER, /* nothing is read any more; ends when the last answer is taken */
	CTL_STATE_ENDED, /* its socket is closed; goes when its last request has ended */
	CTL_STATE_GONE, /* is freed after this round of events */
};

enum ctl_greeting {
	CTL_GREETING_NONE,
	CTL_GREETING_WELCOME,
	CTL_GREETING_REFUSED,
};

struct ctl_connection {
	enum ctl_source source; /* first */
	enum ctl_state state; /* loop thread */
	struct ctl *ctl;
	struct ctl_user *user;
	struct ctl_file *file; /* its socket; NULL once it is ended */
	int fd;
	pid_t pid; /* SO_PEERCRED: who connected */
	uid_t uid;
	gid_t gid;
	bool privileged; /* root, or the mount's owner */
	/* Loop thread. */
	bool hung_up; /* the client is gone; what it has said before is still heard */
	bool goodbye;
	bool in_deadlines;
	bool in_silent;
	uint32_t interest; /* what epoll looks for */
	uint64_t deadline; /* NEW, LINGER */
	TAILQ_ENTRY(ctl_connection) next; /* all */
	TAILQ_ENTRY(ctl_connection) next_deadline;
	/* ctl->lock. */
	struct ctl_session *session;
	uint64_t session_number; /* that it has, or has had; 0: none */
	enum ctl_greeting greeting;
	bool ended;
	bool runnable; /* in ctl->runnable */
	bool posted; /* in ctl->posted */
	bool superseded; /* its client has come back on another one: to be ended */
	unsigned queued; /* requests that have not begun */
	unsigned running; /* workers at its requests */
	struct ctl_request *requests; /* all that have not ended, by number */
	struct ctl_requests queue;
	struct ctl_requests begun;
	TAILQ_ENTRY(ctl_connection) next_runnable;
	STAILQ_ENTRY(ctl_connection) next_posted;
	/* out_lock: what is to be sent. */
	struct lock_mutex out_lock;
	struct ctl_messages out;
	size_t out_bytes;
	bool broken; /* cannot be sent to any more */
	atomic_bool out_full; /* no more requests are read or begun until some of it is taken */
	/* giving: held by a worker from its look at `given` until the parts are on their way before what needs them. */
	pthread_mutex_t giving;
	uint8_t *given; /* by part: GIVEN_ bits of answer.c */
	uint32_t given_parts;
};
TAILQ_HEAD(ctl_connections, ctl_connection);

/* ---- Sessions: outlive their connection while the process lives ---- */

struct ctl_event;
TAILQ_HEAD(ctl_events, ctl_event);

/* A cached pin and its word. */
struct ctl_word {
	UT_hash_handle hh;
	uint64_t pin;
	uint32_t index;
};

struct ctl_session {
	enum ctl_source source; /* first */
	struct ctl *ctl;
	struct fs_holder *holder; /* while connected */
	uint64_t number;
	uint8_t cookie[WIRE_COOKIE_BYTES];
	struct process_identity process;
	uid_t uid;
	void *page; /* mapped until no state word is looked at any more */
	dev_t page_device;
	ino_t page_ino;
	int events; /* socket, or -1; loop thread */
	bool watched; /* `events` is in the epoll set; loop thread */
	bool gone; /* is freed after this round of events; loop thread */
	/* ctl->lock. */
	UT_hash_handle hh; /* by number */
	UT_hash_handle hh_cookie;
	struct ctl_connection *connection; /* that has it, or whose HELLO is about to */
	struct ctl_request *heir; /* HELLO that comes back while the old connection is still ending */
	struct ctl_word *words; /* by pin */
	uint64_t *words_used; /* bit by index; NULL: none ever was */
	bool dead; /* its process is, and its pins are dropped; or it never came to be: goes without a connection */
	bool posted;
	bool listed; /* in the tables */
	struct ctl_event *event_keys; /* events by pin, kind and reason */
	struct ctl_events event_queue; /* oldest first */
	uint32_t event_count;
	uint32_t lost_kinds; /* kinds and reasons told of all pins at once: no room for each; bit by event.c */
	uint64_t lost_deadline;
	STAILQ_ENTRY(ctl_session) next_posted;
};

/* ---- The server ---- */

struct ctl {
	struct fs *fs;
	struct ctl_options options;
	char *path;
	/* Loop thread. */
	enum ctl_source listener_source, bell_source;
	int listener;
	int epoll;
	int bell; /* eventfd */
	int reserve; /* a descriptor to give up when there are no others: so that a connection can be refused */
	bool alone; /* the event at hand is the only one of its round */
	uint64_t listener_paused; /* until then; 0: it is not */
	uint64_t ticked; /* when the closers were looked at */
	struct ctl_connections connections;
	struct ctl_connections deadlines; /* oldest first */
	struct ctl_connections gone; /* ended and idle: freed after this round of events */
	STAILQ_HEAD(, ctl_session) gone_sessions;
	uint64_t connections_max;
	struct ctl_files spare; /* CTL_FDS_ROOM of them before each receive */
	unsigned spares;
	_Alignas(8) unsigned char buffer[WIRE_MESSAGE_MAX];
	struct ctl_users *users;
	atomic_uint_fast64_t connection_count, refused, violations;
	atomic_uint_fast64_t complained; /* when the last complaint was logged */
	pthread_t loop;
	pthread_t worker[CTL_WORKERS];
	unsigned workers; /* started */
	bool started;
	bool unlinked; /* the socket's name is gone */
	/* A leaf: may be taken with any other lock of pinfs held. Protects what follows and what says so. */
	struct lock_mutex lock;
	pthread_cond_t work;
	struct ctl_connections runnable; /* connections with a request to be begun or repeated */
	STAILQ_HEAD(, ctl_connection) posted;
	STAILQ_HEAD(, ctl_session) posted_sessions;
	struct ctl_session *sessions; /* by number */
	struct ctl_session *cookies;
	bool rung;
	bool stopping; /* the loop is to end everything */
	bool workers_stopping;
};

uint64_t ctl_now(void); /* ns, CLOCK_MONOTONIC */
/* At most once in ten seconds. */
void ctl_complain(struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- path.c ---- */

int ctl_listen(const struct ctl_options *options, int *ret_fd, struct message *message);

/* ---- loop.c ---- */

void *ctl_loop(void *ctl);
/* Has the loop look at the connection, or the session. Any thread; the locked form with ctl->lock held. */
void ctl_post(struct ctl_connection *connection);
void ctl_post_locked(struct ctl_connection *connection);
void ctl_post_session_locked(struct ctl_session *session);
void ctl_ring_locked(struct ctl *ctl);

/* ---- connection.c; loop thread ---- */

/* A new client on socket `fd`, which is taken, also if it is refused. */
void ctl_connection_open(struct ctl *ctl, int fd);
/* Ends it: no more of it is read or sent. Its session is left, or closed after a goodbye or its process' death. */
void ctl_connection_end(struct ctl_connection *connection);
/* Something has changed: decides what epoll looks for, whether it ends, whether it goes. */
void ctl_connection_look(struct ctl_connection *connection);
/* Those whose time is over, and what is ended and idle. */
void ctl_connections_expire(struct ctl *ctl, uint64_t now);
void ctl_connections_reap(struct ctl *ctl);
/* The client has said HELLO. */
void ctl_connection_greeted(struct ctl_connection *connection);
/* What is queued is still sent, for some time; nothing is read. */
void ctl_connection_linger(struct ctl_connection *connection);
/* Ends it because of what it sent. */
void ctl_connection_violates(struct ctl_connection *connection, const char *what);

/* ---- receive.c; loop thread ---- */

/* So that a descriptor that comes in can be passed on. -ENOMEM. */
int ctl_spares_fill(struct ctl *ctl, unsigned count);
struct ctl_file *ctl_spare_take(struct ctl *ctl, int fd, struct ctl_user *user);
/* Takes one packet and does what it asks, or queues it. */
void ctl_receive(struct ctl_connection *connection);

/* ---- send.c ---- */

/* Sends, or queues; the list is empty then. Any thread. */
void ctl_send(struct ctl_connection *connection, struct ctl_messages *list);
/* DONE. Any thread. */
void ctl_done(struct ctl_connection *connection, uint64_t request, int error);
/* Loop thread: the socket has room. */
void ctl_flush(struct ctl_connection *connection);
size_t ctl_out_bytes(struct ctl_connection *connection, bool *ret_broken);
void ctl_out_drop(struct ctl_connection *connection);

/* ---- request.c ---- */

/* Takes the descriptor, also on failure. NULL: no memory. */
struct ctl_request *ctl_request_new(struct ctl_connection *connection, const struct wire_header *header,
				    struct ctl_file *file);
/* To the workers; taken on success. -EEXIST: one of that number is under way; -ENOMEM: too many. Loop thread. */
int ctl_request_add(struct ctl_request *request);
/* As ctl_request_add(), for a pin: done here and now if its session has nothing else, and it need not wait. */
int ctl_request_do(struct ctl_request *request);
/* It is to be repeated. */
void ctl_request_resume(struct ctl_request *request);
void ctl_request_resume_locked(struct ctl_request *request);
/* Answers with EINTR what has not begun, interrupts what has. Loop thread. */
void ctl_request_cancel(struct ctl_connection *connection, uint64_t number);
/* There is room for answers again, or a request that can be begun. ctl->lock held. */
void ctl_requests_run_locked(struct ctl_connection *connection);
/* The connection has ended: forgets what has not begun, interrupts the rest. */
void ctl_requests_end(struct ctl_connection *connection);
void ctl_request_free(struct ctl_request *request);
/* The descriptor that came with it is not needed any more. */
void ctl_request_drop_file(struct ctl_request *request);
/* To be called before its answer is sent: from then on the client may use its number again. */
void ctl_request_answered(struct ctl_request *request);
void *ctl_worker(void *ctl);
bool ctl_ended(struct ctl_connection *connection);

/* ---- hello.c, pin.c, list.c, survey.c: what workers do; -EINPROGRESS: the request is not to be touched ---- */
/* -ERESTART: to be repeated, by a worker. */

int ctl_do_hello(struct ctl_request *request);
int ctl_do_pin(struct ctl_request *request);
int ctl_do_commit(struct ctl_request *request);
int ctl_do_list(struct ctl_request *request);
int ctl_do_map(struct ctl_request *request);

/* ---- answer.c ---- */

/* PIN_FLAG_ as clients know them. */
uint32_t ctl_wire_flags(uint32_t flags);

/* Of a pin that is held, for PART, EXTENTS and PINNED messages. */
struct ctl_pinned {
	uint64_t request;
	uint64_t pin;
	uint64_t ino;
	uint64_t offset;
	uint64_t length;
	uint32_t flags; /* WIRE_PIN_ */
	uint32_t word;
	uint32_t generation;
};
/* Appends the messages. -ENOENT: the pin is gone; `giving` of the connection is held until they are sent. */
int ctl_answer_pinned(struct ctl_connection *connection, struct fs_holder *holder, const struct ctl_pinned *pinned,
		      struct ctl_messages *list);

/* ---- session.c ---- */

/* For the HELLO of this connection; in no table yet. NULL: no memory. */
struct ctl_session *ctl_session_new(struct ctl_connection *connection);
/* The connection has it from now on. -ENOMEM; the holder is still the caller's then. */
int ctl_session_attach(struct ctl_session *session, struct ctl_connection *connection, struct fs_holder *holder);
/* The HELLO has failed: away as before, or gone if it is new; `has_holder`: not before the death of its process. */
void ctl_session_abandon(struct ctl_session *session, bool has_holder);
/* The session of that cookie, claimed for the connection. -ENOENT; -EPERM: another process' or user's; -EBUSY; */
/* -EINPROGRESS: its old connection is being ended, the request is resumed after that. */
int ctl_session_claim(struct ctl_request *request, const struct process_identity *process,
		      struct ctl_session **ret_session);
/* Loop thread: something has changed: events, death. */
void ctl_session_look(struct ctl_session *session);
/* Loop thread: its connection ends. */
void ctl_session_detach(struct ctl_connection *connection);
/* In no table, and no round of events knows it. */
void ctl_session_free(struct ctl_session *session);
/* All that are left: nobody is connected, and no state word is looked at any more. */
void ctl_sessions_free(struct ctl *ctl);
extern const struct fs_holder_ops ctl_holder_ops;

/* ---- word.c: state words of the session that a connection has or has had; if that is gone nothing happens ---- */

/* -EINVAL: out of range, or in use; -ENOMEM; -ESHUTDOWN. */
int ctl_word_take(struct ctl_connection *connection, uint32_t index, wire_word **ret_word);
void ctl_word_release(struct ctl_connection *connection, uint32_t index);
/* The pin has this word from now on; takes `word`. */
void ctl_word_bind(struct ctl_connection *connection, struct ctl_word *word, uint64_t pin, uint32_t index);
/* True if the pin had one, which is free now. */
bool ctl_word_unbind(struct ctl_connection *connection, uint64_t pin);
/* WIRE_WORD_NONE: it has none. */
uint32_t ctl_word_find(struct ctl_session *session, uint64_t pin);
void ctl_words_free(struct ctl_session *session);

/* ---- page.c ---- */

/* A new page, mapped, sealed; the descriptor is the caller's. */
int ctl_page_create(struct ctl_session *session, int *ret_fd);
/* The client's page: checks and maps it, or (already mapped) checks that it is the same. */
int ctl_page_adopt(struct ctl_session *session, int fd);

/* ---- event.c ---- */

void ctl_event_queue(struct ctl_session *session, const struct pin_event *event);
/* Loop thread: sends what the socket takes. */
void ctl_events_flush(struct ctl_session *session);
void ctl_events_drop(struct ctl_session *session);

/* ---- file.c ---- */

struct ctl_file_facts {
	uint64_t ino;
	uint32_t generation;
	int open_flags; /* F_GETFL */
	mode_t mode;
};
/* The file that came with the request, which is dropped; 0: none did. */
int ctl_request_ino(struct ctl_request *request, uint64_t *ret_ino);
/* What a received descriptor is of; makes no request to any mount. -ENODEV: not of ours; -EBADF. */
int ctl_file_facts(const struct ctl *ctl, int fd, struct ctl_file_facts *ret_facts);
/* As the link of its descriptor says; NULL: no memory. */
char *ctl_file_path(int fd);

#endif
