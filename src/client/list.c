#include "client/list.h"

#include "client/client.h"

#include <errno.h>

int client_list(struct pinfs *fs, int fd, int (*visit)(void *arg, const struct wire_listed *entry), void *arg)
{
	struct client_call call = {.listed = visit, .arg = arg};
	struct client_link *link;
	struct wire_list message;
	int error;

	if (!client_owns(fs))
		return -EPERM;
	error = client_link_get(fs, true, &link);
	if (error != 0)
		return error;
	error = client_call(fs, link, &call, &message, sizeof(message), WIRE_LIST, fd);
	client_link_return(fs, link);
	return error;
}
