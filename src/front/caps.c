/*
 * What is agreed with the kernel at the start of a session: one table, for every libfuse from 3.14 on. What this
 * libfuse or this kernel cannot do is named once, in one line of the log.
 */
#include "front/request.h"

#include "base/arith.h"

#include <linux/fuse.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Names that came after libfuse 3.14: 0 stands for what no kernel can be asked for by it. */
#ifndef FUSE_CAP_DIRECT_IO_ALLOW_MMAP
#define FUSE_CAP_DIRECT_IO_ALLOW_MMAP 0
#endif
#ifndef FUSE_CAP_SETXATTR_EXT
#define FUSE_CAP_SETXATTR_EXT 0
#endif
/* Before 3.18.3 libfuse does not tell which writes are meant. The version that runs may be another than that of the
 * build. */
#define RELAYS_KILLPRIV 31803u
#if FRONT_LIBFUSE_RELAYS_KILLPRIV
#define KILLPRIV FUSE_CAP_HANDLE_KILLPRIV_V2
#else
#define KILLPRIV 0
#endif
/* Came after Debian 12's linux/fuse.h, in kernel 6.6. */
#define DIRECT_IO_ALLOW_MMAP (1ull << 36)

static bool relays_killpriv(void)
{
	unsigned major = 0, minor = 0, hotfix = 0;

	(void)sscanf(fuse_pkgversion(), "%u.%u.%u", &major, &minor, &hotfix);
	return (major * 100 + minor) * 100 + hotfix >= RELAYS_KILLPRIV;
}

static bool cached(const struct front *front)
{
	return front->cache != FRONT_CACHE_NONE;
}

/* Opens are to be refused where an inode may be protected. */
static bool opens_freely(const struct front *front)
{
	return cached(front) && !fs_honours_flags(front->fs);
}

static bool uncached(const struct front *front)
{
	return front->cache == FRONT_CACHE_NONE;
}

static bool written_back(const struct front *front)
{
	return front->cache == FRONT_CACHE_WRITEBACK;
}

struct cap {
	uint64_t flag; /* FUSE_CAP_*; 0: this libfuse does not know it */
	uint64_t kernel_flag; /* the same in linux/fuse.h, to be asked for past libfuse (channel.c); 0: never */
	bool (*wanted)(const struct front *front); /* NULL: always */
	size_t granted; /* offset of a bool in struct front that tells; 0: nobody needs to know */
	const char *without; /* how it is without, for people; NULL: not worth a word */
};
#define GRANTED(field) offsetof(struct front, field)

/* A row each: add yours at the end. */
static const struct cap caps[] = {
	{FUSE_CAP_ASYNC_READ, 0, NULL, 0, NULL},
	{FUSE_CAP_READDIRPLUS, 0, NULL, 0, NULL},
	{FUSE_CAP_READDIRPLUS_AUTO, 0, NULL, 0, NULL},
	{FUSE_CAP_PARALLEL_DIROPS, 0, NULL, 0, NULL},
	{FUSE_CAP_CACHE_SYMLINKS, 0, cached, 0, NULL},
	{FUSE_CAP_EXPORT_SUPPORT, 0, NULL, 0, NULL},
	{FUSE_CAP_EXPLICIT_INVAL_DATA, 0, NULL, 0, NULL},
	{FUSE_CAP_ASYNC_DIO, 0, uncached, 0, NULL},
	{FUSE_CAP_WRITEBACK_CACHE, 0, written_back, GRANTED(writeback), "cache=auto is used"},
	{FUSE_CAP_NO_OPEN_SUPPORT, 0, opens_freely, GRANTED(no_open), NULL},
	{FUSE_CAP_NO_OPENDIR_SUPPORT, 0, cached, GRANTED(no_opendir), NULL},
	{FUSE_CAP_DIRECT_IO_ALLOW_MMAP, DIRECT_IO_ALLOW_MMAP, uncached, GRANTED(shared_mmap),
	 "no shared mmap(2) with cache=none"},
	{KILLPRIV, FUSE_HANDLE_KILLPRIV_V2, uncached, GRANTED(killpriv), NULL},
	{KILLPRIV, FUSE_HANDLE_KILLPRIV_V2, cached, GRANTED(killpriv),
	 "each write through the kernel's cache costs a second request"},
	{FUSE_CAP_SETXATTR_EXT, 0, NULL, GRANTED(setxattr_ext), NULL},
	{FUSE_CAP_POSIX_ACL, 0, NULL, GRANTED(acl), "no POSIX ACLs"},
	{FUSE_CAP_DONT_MASK, 0, NULL, 0, NULL},
	{FUSE_CAP_IOCTL_DIR, 0, NULL, 0, NULL},
};

/*
 * Refused although libfuse asks for some of them: ATOMIC_O_TRUNC, because open(O_TRUNC) would truncate nothing once
 * opens are answered with ENOSYS; AUTO_INVAL_DATA, because nobody else changes a file; HANDLE_KILLPRIV, which does not
 * tell who may keep setuid and setgid; SPLICE_*, because replies come straight from the mapped memory and writes go
 * straight to it; ASYNC_DIO, but the table asks for it where the kernel does not cache: once an asynchronous direct
 * write has been answered it does not look again for what others have read into its cache meanwhile, and a page that
 * was read too early would stay for ever.
 */
static const uint64_t refused[] = {
	FUSE_CAP_ATOMIC_O_TRUNC, FUSE_CAP_AUTO_INVAL_DATA, FUSE_CAP_HANDLE_KILLPRIV, FUSE_CAP_SPLICE_READ,
	FUSE_CAP_SPLICE_WRITE,	 FUSE_CAP_SPLICE_MOVE,	   FUSE_CAP_ASYNC_DIO,
};

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
static bool ask(struct fuse_conn_info *conn, uint64_t flag)
{
	return fuse_set_feature_flag(conn, flag);
}

static void refuse(struct fuse_conn_info *conn, uint64_t flag)
{
	fuse_unset_feature_flag(conn, flag);
}
#else
static bool ask(struct fuse_conn_info *conn, uint64_t flag)
{
	conn->want |= (unsigned)flag & conn->capable;
	return (flag & conn->capable) != 0;
}

static void refuse(struct fuse_conn_info *conn, uint64_t flag)
{
	conn->want &= ~(unsigned)flag;
}
#endif

static void add_missing(char *text, size_t size, const char *without)
{
	size_t length = strlen(text);

	snprintf(text + length, size - length, "%s%s", length > 0 ? "; " : "", without);
}

/* By the libfuse that runs, or past it. */
static bool is_known(const struct front *front, const struct cap *cap)
{
	if (cap->kernel_flag != 0 && front->channel.open)
		return true;
	return cap->flag != 0 && (cap->flag != KILLPRIV || relays_killpriv());
}

static bool agree(struct front *front, struct fuse_conn_info *conn, const struct cap *cap)
{
	if (cap->kernel_flag != 0 && front->channel.open)
		return front_channel_ask(front, cap->kernel_flag);
	return is_known(front, cap) && ask(conn, cap->flag);
}

/* One line for all that somebody does not know, and what to do about it. */
static void report_missing(const struct front *front, const char *who, const char *what, const char *advice)
{
	if (what[0] != '\0')
		log_info("%s: %s: %s: %s", front->mountpoint, who, what, advice);
}

void front_caps_agree(struct front *front, struct fuse_conn_info *conn)
{
	char library[512] = "", kernel[512] = "";
	char name[64];

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		refuse(conn, refused[i]);
	for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
		const struct cap *cap = &caps[i];
		bool granted;

		if (cap->wanted != NULL && !cap->wanted(front))
			continue;
		granted = agree(front, conn, cap);
		if (granted && cap->granted != 0)
			*(bool *)((char *)front + cap->granted) = true;
		if (!granted && cap->without != NULL)
			add_missing(is_known(front, cap) ? kernel : library, sizeof(library), cap->without);
	}
	snprintf(name, sizeof(name), "without a newer libfuse (this is %s)", fuse_pkgversion());
	report_missing(front, name, library, "build pinfs with libfuse 3.18.3 or newer (tools/fuse3)");
	report_missing(front, "without a newer kernel", kernel, "run a newer one");
}
