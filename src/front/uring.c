/* All queues of the transport: their life, and whose request an answer is for. */
#include "front/uring_queue.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

/* ---- Answers ---- */

/* The thread that answers is rarely another than the one that serves: then all are looked at. */
static struct front_uring_entry *find(struct front_uring *uring, uint64_t unique)
{
	struct front_uring_entry *entry;

	entry = front_uring_serving();
	if (entry != NULL && atomic_load(&entry->unique) == unique)
		return entry;
	for (unsigned i = 0; i < uring->count; i++) {
		for (entry = atomic_load(&uring->queues[i].entries); entry != NULL; entry = entry->older) {
			if (atomic_load(&entry->unique) == unique)
				return entry;
		}
	}
	return NULL;
}

bool front_uring_answer(struct front_uring *uring, const struct iovec *iov, int count, ssize_t *ret_result)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	struct front_uring_entry *entry;
	size_t length;
	int error;

	entry = uring != NULL && out->unique != 0 ? find(uring, out->unique) : NULL;
	if (entry == NULL)
		return false;
	error = front_uring_fill(entry, iov, count, &length);
	front_uring_answered(entry);
	errno = -error;
	*ret_result = error != 0 ? -1 : (ssize_t)length;
	return true;
}

/* ---- Life ---- */

/* The kernel wants a queue for each core that there may ever be. */
static unsigned possible_cores(void)
{
	FILE *file = fopen("/sys/devices/system/cpu/possible", "re");
	unsigned last = 0;
	char text[256] = "";
	const char *number;

	if (file == NULL)
		return (unsigned)get_nprocs_conf();
	if (fgets(text, sizeof(text), file) != NULL) {
		number = text + strcspn(text, "\n");
		while (number > text && number[-1] >= '0' && number[-1] <= '9')
			number--;
		last = (unsigned)strtoul(number, NULL, 10);
	}
	(void)fclose(file);
	return last + 1;
}

int front_uring_open(struct front *front, size_t payload_max, struct front_uring **ret_uring)
{
	const unsigned cores = possible_cores(), online = (unsigned)get_nprocs(),
		       count = cores < online ? cores : online;
	struct front_uring *uring = calloc(1, sizeof(*uring) + count * sizeof(uring->queues[0]));
	int error = 0;

	if (uring == NULL)
		return -ENOMEM;
	uring->front = front;
	uring->payload_max = payload_max;
	uring->cores = cores;
	uring->count = count;
	pthread_mutex_init(&uring->lock, NULL);
	pthread_cond_init(&uring->go, NULL);
	for (unsigned i = 0; i < count; i++) {
		uring->queues[i].uring = uring;
		uring->queues[i].event = -1;
		pthread_mutex_init(&uring->queues[i].lock, NULL);
	}
	for (unsigned i = 0; i < count && error == 0; i++)
		error = front_uring_queue_open(&uring->queues[i], i);
	if (error == 0) {
		*ret_uring = uring;
		return 0;
	}
	front_uring_stop(uring);
	front_uring_close(uring);
	return error;
}

void front_uring_go(struct front_uring *uring)
{
	pthread_mutex_lock(&uring->lock);
	uring->going = true;
	pthread_cond_broadcast(&uring->go);
	pthread_mutex_unlock(&uring->lock);
}

void front_uring_stop(struct front_uring *uring)
{
	if (uring == NULL)
		return;
	pthread_mutex_lock(&uring->lock);
	atomic_store(&uring->stopping, true);
	pthread_cond_broadcast(&uring->go);
	pthread_mutex_unlock(&uring->lock);
	for (unsigned i = 0; i < uring->count; i++)
		front_uring_queue_stop(&uring->queues[i]);
}

void front_uring_close(struct front_uring *uring)
{
	if (uring == NULL)
		return;
	for (unsigned i = 0; i < uring->count; i++)
		front_uring_queue_close(&uring->queues[i]);
	pthread_cond_destroy(&uring->go);
	pthread_mutex_destroy(&uring->lock);
	free(uring);
}
