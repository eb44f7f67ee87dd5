/*
 * Events come on a socket of their own, which sits in an epoll set together with what the library itself has to say:
 * an eventfd that is readable while there are news, and a timer that ticks while the session is away.
 */
#include "client/client.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define AWAY_TICK_NS 100000000L

static int add(struct pinfs *fs, int fd)
{
	struct epoll_event interest = {.events = EPOLLIN};

	return epoll_ctl(fs->epoll_fd, EPOLL_CTL_ADD, fd, &interest) == 0 ? 0 : -errno;
}

int client_poller_open(struct pinfs *fs)
{
	int error = 0;

	fs->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	fs->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fs->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fs->epoll_fd < 0 || fs->news_fd < 0 || fs->timer_fd < 0)
		error = -errno;
	if (error == 0)
		error = add(fs, fs->news_fd);
	if (error == 0)
		error = add(fs, fs->timer_fd);
	if (error != 0)
		client_poller_close(fs);
	return error;
}

void client_poller_close(struct pinfs *fs)
{
	if (fs->epoll_fd >= 0)
		(void)close(fs->epoll_fd);
	if (fs->news_fd >= 0)
		(void)close(fs->news_fd);
	if (fs->timer_fd >= 0)
		(void)close(fs->timer_fd);
}

int client_poller_watch(struct pinfs *fs, const struct client_link *link)
{
	return add(fs, link->event_socket);
}

void client_poller_away(struct pinfs *fs, bool away)
{
	const struct itimerspec times = {
		.it_interval.tv_nsec = away ? AWAY_TICK_NS : 0,
		.it_value.tv_nsec = away ? AWAY_TICK_NS : 0,
	};

	(void)timerfd_settime(fs->timer_fd, 0, &times, NULL);
}

static void set_news(struct pinfs *fs, bool news)
{
	uint64_t count = 1;

	if (news)
		(void)!write(fs->news_fd, &count, sizeof(count));
	else
		(void)!read(fs->news_fd, &count, sizeof(count));
}

void client_announce(struct pinfs *fs, struct pinfs_pin *pin, uint32_t reason, uint64_t offset, uint64_t length)
{
	struct pinfs_event *event = &pin->news[reason - 1];
	uint64_t end = offset + length;

	if (event->kind != 0) {
		if (event->offset + event->length > end)
			end = event->offset + event->length;
		if (event->offset < offset)
			offset = event->offset;
	}
	*event = (struct pinfs_event){
		.kind = PINFS_EVENT_DETACHED,
		.reason = reason,
		.pin = pin->id,
		.file = pin->ino,
		.offset = offset,
		.length = end - offset,
	};
	if (pin->announced)
		return;
	pin->announced = true;
	pin->next_news = NULL;
	pin->previous_news = fs->last_news;
	if (fs->last_news != NULL)
		fs->last_news->next_news = pin;
	else
		fs->first_news = pin;
	fs->last_news = pin;
	set_news(fs, true);
}

void client_announce_cancel(struct pinfs *fs, struct pinfs_pin *pin)
{
	if (!pin->announced)
		return;
	pin->announced = false;
	memset(pin->news, 0, sizeof(pin->news));
	if (pin->next_news != NULL)
		pin->next_news->previous_news = pin->previous_news;
	else
		fs->last_news = pin->previous_news;
	if (pin->previous_news != NULL)
		pin->previous_news->next_news = pin->next_news;
	else
		fs->first_news = pin->next_news;
	if (fs->first_news == NULL)
		set_news(fs, false);
}

static bool take_news(struct pinfs *fs, struct pinfs_event *event)
{
	struct pinfs_pin *pin = fs->first_news;

	if (pin == NULL)
		return false;
	for (int i = 0; i < 2; i++) {
		if (pin->news[i].kind == 0)
			continue;
		*event = pin->news[i];
		pin->news[i].kind = 0;
		if (i == 1 || pin->news[1].kind == 0)
			client_announce_cancel(fs, pin);
		return true;
	}
	return false;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t deadline(const struct wire_event *event)
{
	uint64_t time;

	if (event->kind != PINFS_EVENT_RECALL && event->kind != PINFS_EVENT_SHUTDOWN)
		return 0;
	return __builtin_add_overflow(now_ns(), event->deadline, &time) ? UINT64_MAX : time;
}

/* True if it is of a kind that this version knows. */
static bool translate(const struct wire_event *event, struct pinfs_event *ret_event)
{
	if (event->kind < PINFS_EVENT_RECALL || event->kind > PINFS_EVENT_SHUTDOWN)
		return false;
	*ret_event = (struct pinfs_event){
		.kind = event->kind,
		.reason = event->reason,
		.pin = event->pin,
		.file = event->ino,
		.offset = event->offset,
		.length = event->length,
		.deadline = deadline(event),
	};
	return true;
}

/* Lock held. -EAGAIN: none; -ENOTCONN: the link has ended. */
static int take_event(struct pinfs *fs, struct pinfs_event *event)
{
	struct client_link *link = fs->link;
	int error;

	if (take_news(fs, event))
		return 0;
	if (link == NULL)
		return -ENOTCONN;
	do {
		error = client_receive(link->event_socket, wire_event_valid, MSG_DONTWAIT, &link->event);
		if (error == 0) {
			bool known = translate((const struct wire_event *)link->event.bytes, event);

			client_message_close(&link->event);
			if (known)
				return 0;
		}
	} while (error == 0 || error == -EINTR);
	if (error == -EAGAIN)
		return error;
	client_link_fail(fs, link, -ENOTCONN);
	return -ENOTCONN;
}

int pinfs_event_fd(struct pinfs *fs)
{
	return client_owns(fs) ? fs->epoll_fd : -EPERM;
}

int pinfs_next_event(struct pinfs *fs, struct pinfs_event *event)
{
	struct client_link *link;
	uint64_t ticks;
	int error;

	if (!client_owns(fs))
		return -EPERM;
	pthread_mutex_lock(&fs->lock);
	(void)!read(fs->timer_fd, &ticks, sizeof(ticks));
	error = take_event(fs, event);
	pthread_mutex_unlock(&fs->lock);
	if (error != -ENOTCONN)
		return error;
	error = client_link_get(fs, false, &link);
	if (error != 0)
		return error;
	client_link_return(fs, link);
	pthread_mutex_lock(&fs->lock);
	error = take_event(fs, event);
	pthread_mutex_unlock(&fs->lock);
	return error;
}
