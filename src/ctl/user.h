/*
 * Users: what one uid's clients take of the server, and the closing of the descriptors that they have sent. Closing may
 * block for ever (a descriptor of a hostile mount), or ask ourselves (one of our own mount): it is done by threads that
 * the server can do without.
 */
#ifndef PINFS_CTL_USER_H
#define PINFS_CTL_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

struct ctl_users;
struct ctl_user;

/* A descriptor that a client has sent, or its socket. */
struct ctl_file {
	STAILQ_ENTRY(ctl_file) next;
	int fd;
	struct ctl_user *user; /* a reference */
};
STAILQ_HEAD(ctl_files, ctl_file);

/*
 * Descriptors of one user that wait to be closed: more end its sessions, if none was closed for a second (else threads
 * are only slow: the machine is busy), and far more in any case.
 */
#define CTL_USER_CLOSING_MAX 1024u
#define CTL_USER_CLOSING_LIMIT (8 * CTL_USER_CLOSING_MAX)

/* `bell`: an eventfd that is rung when a descriptor finds no thread that could close it at once. */
int ctl_users_create(int bell, struct ctl_users **ret_users);
/* No user is in use. Threads that are stuck in a close keep what they need. */
void ctl_users_destroy(struct ctl_users *users);
/* Once a second while ctl_users_closing(): replaces threads that do not get on. */
void ctl_users_tick(struct ctl_users *users);
bool ctl_users_closing(struct ctl_users *users);

/* -ENOMEM. Each get needs its put. */
int ctl_user_get(struct ctl_users *users, uid_t uid, struct ctl_user **ret_user);
void ctl_user_put(struct ctl_user *user);
/* Loop thread's: counts of connections, all and those that have not said HELLO. */
struct ctl_user_counts {
	unsigned connections;
	unsigned silent;
};
struct ctl_user_counts *ctl_user_counts(struct ctl_user *user);
/* Bytes of answers that its clients have not taken; any thread. Returns how many there are now. */
uint64_t ctl_user_out(struct ctl_user *user, int64_t change);
/* Its descriptors that wait to be closed. */
unsigned ctl_user_closing(struct ctl_user *user);
/* True if they are too many. */
bool ctl_user_stuck(struct ctl_user *user);

/* The struct is for this descriptor of the user's from now on. */
void ctl_file_set(struct ctl_file *file, int fd, struct ctl_user *user);
/* Closes it somewhere else. Takes the struct and its reference. */
void ctl_file_close(struct ctl_file *file);

#endif
