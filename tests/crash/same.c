/* Clock, randomness and processor, the same in each run: an id of an image names the same image tomorrow. */
#include "same.h"

#include <sched.h>
#include <sodium.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static uint64_t random_state = 0x9e3779b97f4a7c15u;
static time_t seconds = 1000000000;

void same_restart(uint64_t seed)
{
	random_state = (seed + 1) * 0x9e3779b97f4a7c15u;
	seconds = 1000000000;
}

void same_tick(void)
{
	seconds++;
}

uint64_t same_mix(uint64_t value)
{
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
	return value ^ (value >> 31);
}

uint64_t same_random(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15u;
	return same_mix(*state);
}

static void fill(void *buffer, size_t length)
{
	unsigned char *bytes = buffer;

	for (size_t i = 0; i < length; i++)
		bytes[i] = (unsigned char)same_random(&random_state);
}

ssize_t getrandom(void *buffer, size_t length, unsigned flags)
{
	(void)flags;
	fill(buffer, length);
	return (ssize_t)length;
}

void randombytes_buf(void *buffer, size_t length)
{
	fill(buffer, length);
}

int clock_gettime(clockid_t clock, struct timespec *ret_now)
{
	(void)clock;
	*ret_now = (struct timespec){.tv_sec = seconds};
	return 0;
}

time_t time(time_t *ret_now)
{
	if (ret_now != NULL)
		*ret_now = seconds;
	return seconds;
}

int sched_getcpu(void)
{
	return 0;
}
