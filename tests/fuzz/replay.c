/* A main for targets that are built without libFuzzer: runs each file of the folders that are given, once, and none. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX (1u << 20)
/* Of one input; with sanitizers on a busy machine. */
#define INPUT_SECONDS 60

static int replay_file(const char *path)
{
	uint8_t *data = malloc(INPUT_MAX);
	FILE *file = fopen(path, "re");
	uint8_t *input;
	size_t size;

	if (data == NULL || file == NULL) {
		fprintf(stdout, "not ok %s: %s\n", path, strerror(errno));
		free(data);
		return -1;
	}
	size = fread(data, 1, INPUT_MAX, file);
	fclose(file);
	/* Of its own size: what is read beyond it is seen. */
	input = malloc(size > 0 ? size : 1);
	if (input != NULL)
		memcpy(input, data, size);
	free(data);
	if (input == NULL)
		return -1;
	/* Should it end the process, its name is the last line. */
	fprintf(stdout, "# %s\n", path);
	fflush(stdout);
	alarm(INPUT_SECONDS);
	(void)LLVMFuzzerTestOneInput(input, size);
	alarm(0);
	free(input);
	return 0;
}

static int not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int replay_folder(const char *folder, unsigned *count)
{
	struct dirent **names;
	char path[4096];
	int found = scandir(folder, &names, not_hidden, alphasort);
	int failed = found < 0;

	for (int i = 0; i < found; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name);
		failed |= replay_file(path) != 0;
		++*count;
		free(names[i]);
	}
	if (found >= 0)
		free(names);
	else
		fprintf(stdout, "not ok %s: %s\n", folder, strerror(errno));
	return failed ? -1 : 0;
}

int main(int argc, char **argv)
{
	static const uint8_t nothing;
	unsigned count = 0;
	int failed = 0;

	(void)LLVMFuzzerInitialize(&argc, &argv);
	(void)LLVMFuzzerTestOneInput(&nothing, 0);
	for (int i = 1; i < argc; i++)
		failed |= replay_folder(argv[i], &count) != 0;
	fprintf(stdout, "%s 1 - %u inputs\n1..1\n", failed ? "not ok" : "ok", count);
	return failed ? 1 : 0;
}
