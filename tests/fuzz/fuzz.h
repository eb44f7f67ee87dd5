/* What the targets share: libFuzzer's interface, and less noise. */
#ifndef PINFS_FUZZ_H
#define PINFS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t capacity);

/* What pinfs logs about damage is thousands of lines; sanitizers write to the descriptor. FUZZ_VERBOSE=1 shows it. */
static inline void fuzz_quiet(void)
{
	FILE *nowhere = getenv("FUZZ_VERBOSE") == NULL ? fopen("/dev/null", "we") : NULL;

	if (nowhere != NULL)
		stderr = nowhere;
}

#endif
