/* Listing directories. */
#include "front/request.h"

#include "base/arith.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One reply's bytes at most: more would only hold up others. The kernel asks again where it left off. */
#define LISTING_MAX (128u << 10)
/* No packed entry is shorter: 24 bytes of header, a name of one byte, rounded up to 8. */
#define DIRENT_MIN 32u

struct listing {
	const struct front_request *request;
	bool plus;
	char *data;
	size_t size, used;
	/* With plus: the inodes whose look-up count this listing has raised, taken back if the reply is lost. */
	uint64_t *known;
	size_t known_count;
};

void front_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct front_request request;

	(void)ino;
	front_begin(&request, req, FRONT_OPENDIR);
	if (request.front->no_opendir)
		front_reply_error(&request, -ENOSYS);
	else
		front_reply_open(&request, fi);
}

static bool is_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* fs_dirent_visit: packs one entry; non-zero when it does not fit any more. */
static int pack(void *arg, const struct fs_dirent *dirent)
{
	struct listing *listing = arg;
	char *place = listing->data + listing->used;
	size_t room = listing->size - listing->used;
	struct fuse_entry_param param;
	size_t needed;

	if (listing->plus) {
		front_entry_param(listing->request->front, &dirent->entry, &param);
		if (is_dot(dirent->name))
			param.ino = 0; /* not a look-up: the kernel counts none */
		needed = fuse_add_direntry_plus(listing->request->req, place, room, dirent->name, &param,
						(off_t)dirent->offset);
	} else {
		needed = fuse_add_direntry(listing->request->req, place, room, dirent->name, &dirent->entry.attr,
					   (off_t)dirent->offset);
	}
	if (needed > room)
		return 1;
	listing->used += needed;
	if (listing->plus && param.ino != 0)
		listing->known[listing->known_count++] = param.ino;
	return 0;
}

static void take_back(const struct listing *listing)
{
	for (size_t i = 0; i < listing->known_count; i++)
		fs_forget(listing->request->front->fs, listing->known[i], 1);
}

static void list(struct front_request *request, fuse_ino_t ino, size_t size, off_t offset, bool plus)
{
	struct listing listing = {.request = request, .plus = plus};
	int error = -ENOMEM;

	listing.size = min_u64(size, LISTING_MAX);
	listing.data = malloc(listing.size + 1);
	if (listing.data == NULL)
		goto fail;
	if (plus) {
		listing.known = calloc(listing.size / DIRENT_MIN + 1, sizeof(*listing.known));
		if (listing.known == NULL)
			goto fail;
	}
	error = fs_readdir(request->front->fs, ino, (uint64_t)offset, plus, pack, &listing);
	/* Entries that were packed before an error are good, and the kernel meets the error when it goes on. */
	if (error != 0 && listing.used == 0)
		goto fail;
	if (!front_reply_data(request, listing.data, listing.used))
		take_back(&listing);
	goto out;
fail:
	front_reply_error(request, error);
out:
	free(listing.known);
	free(listing.data);
}

void front_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct front_request request;

	(void)fi;
	front_begin(&request, req, FRONT_READDIR);
	list(&request, ino, size, offset, false);
}

void front_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct front_request request;

	(void)fi;
	front_begin(&request, req, FRONT_READDIRPLUS);
	list(&request, ino, size, offset, true);
}

/* Every change of a directory was durable when it was answered: the kernel need not ask. */
void front_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct front_request request;

	(void)ino;
	(void)datasync;
	(void)fi;
	front_begin(&request, req, FRONT_FSYNCDIR);
	front_reply_error(&request, -ENOSYS);
}
