#include "memory.h"

#include "device/device.h"
#include "format/format.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int learn(const char *path, struct device_facts *ret_facts, struct message *message)
{
	struct devices *devices;
	int error;

	error = devices_open(&devices);
	if (error == 0) {
		error = device_learn(devices, path, ret_facts);
		devices_close(devices);
	}
	if (error != 0)
		message_set(message, "%s: %s", path, strerror(-error));
	return error;
}

struct errors {
	uint64_t first; /* byte of the first one; UINT64_MAX: none */
	uint64_t end; /* of the last */
	uint64_t bytes;
};

static int see_error(void *arg, uint64_t offset, uint64_t length)
{
	struct errors *errors = arg;

	if (offset < errors->first)
		errors->first = offset;
	if (offset + length > errors->end)
		errors->end = offset + length;
	errors->bytes += length;
	return 0;
}

/* Who cannot be told finds out by touching it: then there are none here. */
static int find_errors(const char *path, struct errors *ret_errors, struct message *message)
{
	struct devices *devices;
	int error;

	*ret_errors = (struct errors){.first = UINT64_MAX};
	error = devices_open(&devices);
	if (error == 0) {
		error = device_media_errors(devices, path, see_error, ret_errors);
		devices_close(devices);
	}
	if (error == -EACCES || error == -EOPNOTSUPP) {
		log_warning("%s: its device has media errors, and whether they are in it cannot be told%s", path,
			    error == -EACCES ? ": run this as root" : "");
		error = 0;
	}
	if (error != 0)
		message_set(message, "%s: its media errors: %s", path, strerror(-error));
	return error;
}

static int refuse(const char *path, const char *what, const struct errors *errors, struct message *message)
{
	message_set(message,
		    "%s: has media errors (%" PRIu64 " bytes, the first at %" PRIu64
		    "), and %s cannot do without them: "
		    "give another, or have them cleared: see `ndctl list --media-errors`, ndctl-clear-errors(1)",
		    path, errors->bytes, errors->first, what);
	return -EIO;
}

/* Both copies of the header are to be sound, to begin with. */
static int check_headers(const struct device_facts *facts, const char *path, struct message *message)
{
	struct errors errors;
	int error;

	error = find_errors(path, &errors, message);
	if (error != 0 || errors.bytes == 0)
		return error;
	if (errors.first < FMT_BLOCK_SIZE || errors.end > facts->bytes - FMT_BLOCK_SIZE)
		return refuse(path, "the headers at its ends", &errors, message);
	return 0;
}

int memory_check_device(const char *path, struct message *message)
{
	char mountpoint[DEVICE_PATH_MAX];
	struct device_facts facts;
	int error;

	error = learn(path, &facts, message);
	if (error != 0)
		return error;
	if (facts.kind == DEVICE_DEVDAX && !facts.system_ram)
		return check_headers(&facts, path, message);
	/* In use, as by swap or LVM: that comes first. */
	device_mounted_on(path, mountpoint);
	if (mountpoint[0] == '\0' && facts.kind != DEVICE_DEVDAX) {
		error = device_check_users(path, message);
		if (error != 0)
			return error;
	}
	device_unfit(&facts, path, mountpoint, message);
	return facts.system_ram || mountpoint[0] != '\0' ? -EBUSY : -EINVAL;
}

int memory_explain_one(const char *path, struct message *message)
{
	struct device_facts facts;
	int error;

	error = learn(path, &facts, message);
	if (error != 0)
		return error;
	device_carve(&facts, path, message);
	return -EINVAL;
}

int memory_check_meta(const char *path, struct message *message)
{
	struct errors errors;
	int error;

	error = find_errors(path, &errors, message);
	if (error != 0 || errors.bytes == 0)
		return error;
	return refuse(path, "a meta part", &errors, message);
}

void memory_warn_part(const char *path)
{
	struct tool_size_text size;
	struct errors errors;

	if (find_errors(path, &errors, NULL) == 0 && errors.bytes != 0)
		log_warning(
			"%s: has media errors: %s are lost, and will not be used; ndctl-clear-errors(1), before mkfs, "
			"may bring them back",
			path, tool_size_text(errors.bytes, &size));
}
