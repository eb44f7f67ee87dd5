#include "front/request.h"

#include <errno.h>

void front_begin(struct front_request *request, fuse_req_t req, enum front_op op)
{
	request->req = req;
	request->front = fuse_req_userdata(req);
	request->op = op;
	request->start = front_now_ns();
	front_stats_begin(&request->front->stats, op);
}

static void answered(const struct front_request *request, int error)
{
	front_stats_record(&request->front->stats, request->op, front_now_ns() - request->start, error);
}

void front_entry_param(const struct front *front, const struct fs_entry *entry, struct fuse_entry_param *ret_param)
{
	*ret_param = (struct fuse_entry_param){
		.ino = entry->ino,
		.generation = entry->generation,
		.attr = entry->attr,
		.attr_timeout = front->attr_timeout,
		.entry_timeout = FRONT_FOREVER,
	};
}

void front_reply_error(struct front_request *request, int error)
{
	(void)fuse_reply_err(request->req, -error);
	answered(request, error);
}

void front_reply_none(struct front_request *request)
{
	fuse_reply_none(request->req);
	answered(request, 0);
}

void front_reply_entry(struct front_request *request, const struct fs_entry *entry, const struct fuse_file_info *fi)
{
	struct fuse_entry_param param;
	int error;

	front_entry_param(request->front, entry, &param);
	if (fi != NULL)
		error = fuse_reply_create(request->req, &param, fi);
	else
		error = fuse_reply_entry(request->req, &param);
	if (error != 0)
		fs_forget(request->front->fs, entry->ino, 1);
	answered(request, error);
}

void front_reply_absent(struct front_request *request)
{
	const struct fuse_entry_param param = {.ino = 0, .entry_timeout = FRONT_FOREVER};

	(void)fuse_reply_entry(request->req, &param);
	answered(request, -ENOENT);
}

void front_reply_attr(struct front_request *request, const struct stat *attr)
{
	answered(request, fuse_reply_attr(request->req, attr, request->front->attr_timeout));
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
void front_reply_statx(struct front_request *request, struct statx *attr)
{
	answered(request, fuse_reply_statx(request->req, 0, attr, request->front->attr_timeout));
}
#endif

void front_reply_open(struct front_request *request, const struct fuse_file_info *fi)
{
	answered(request, fuse_reply_open(request->req, fi));
}

bool front_reply_data(struct front_request *request, const void *data, size_t length)
{
	int error = fuse_reply_buf(request->req, data, length);

	answered(request, error);
	return error == 0;
}

int front_reply_iov(struct front_request *request, const struct iovec *iov, int count)
{
	int error = fuse_reply_iov(request->req, iov, count);

	answered(request, error);
	return error;
}

void front_reply_written(struct front_request *request, size_t length)
{
	answered(request, fuse_reply_write(request->req, length));
}

void front_reply_offset(struct front_request *request, off_t offset)
{
	answered(request, fuse_reply_lseek(request->req, offset));
}

void front_reply_link(struct front_request *request, const char *target)
{
	answered(request, fuse_reply_readlink(request->req, target));
}

void front_reply_statfs(struct front_request *request, const struct statvfs *statfs)
{
	answered(request, fuse_reply_statfs(request->req, statfs));
}

void front_reply_ioctl(struct front_request *request, const void *data, size_t length)
{
	answered(request, fuse_reply_ioctl(request->req, 0, data, length));
}

void front_reply_length(struct front_request *request, size_t length)
{
	answered(request, fuse_reply_xattr(request->req, length));
}
