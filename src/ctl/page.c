/* The page of state words that daemon and client share: a memfd that nobody can make smaller. */
#include "ctl/server.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int map(struct ctl_session *session, int fd, const struct stat *st)
{
	void *page = mmap(NULL, WIRE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (page == MAP_FAILED)
		return errno == ENOMEM ? -ENOMEM : -EINVAL;
	session->page = page;
	session->page_device = st->st_dev;
	session->page_ino = st->st_ino;
	return 0;
}

int ctl_page_create(struct ctl_session *session, int *ret_fd)
{
	int fd = memfd_create("pinfs-words", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct stat st;
	int error;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, WIRE_PAGE_BYTES) != 0 || fcntl(fd, F_ADD_SEALS, SEALS) != 0 || fstat(fd, &st) != 0)
		error = -errno;
	else
		error = map(session, fd, &st);
	if (error != 0) {
		close(fd);
		return error;
	}
	*ret_fd = fd;
	return 0;
}

int ctl_page_adopt(struct ctl_session *session, int fd)
{
	/* Asked first: only memory has seals, so what follows makes no request to any mount. */
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || (seals & SEALS) != SEALS)
		return -EINVAL;
	if (fstat(fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size != WIRE_PAGE_BYTES)
		return -EINVAL;
	if (session->page != NULL)
		return st.st_dev == session->page_device && st.st_ino == session->page_ino ? 0 : -EINVAL;
	return map(session, fd, &st);
}
