/*
 * Load with verification for a Linux guest, linked statically.
 *
 *   iomix mix PATH MIB SECONDS THREADS   random reads and writes past the page cache, everything read back and checked
 *   iomix flood PATH MIB                 rewrites all of PATH again and again, `SYNCED n` after each time that is durable
 *   iomix verify PATH MIB N              all blocks are whole and of generation N or later
 *
 * Blocks of 4 KiB: number, generation, checksum, and bytes that follow from these. Ends with `IOMIX OK ...`, or
 * `IOMIX BAD ...` and 1.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define MOST 16

struct block {
	uint64_t number, generation, sum;
	uint64_t words[BLOCK / 8 - 3];
};

static const char *path;
static uint64_t blocks, operations, bytes;
static double seconds;
static unsigned threads;

static void bad(const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	printf("IOMIX BAD %s ", path);
	vprintf(format, arguments);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

static uint64_t next_random(uint64_t *state) {
	uint64_t x = *state += 0x9e3779b97f4a7c15ul;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ul;
	x = (x ^ x >> 27) * 0x94d049bb133111ebul;
	return x ^ x >> 31;
}

static uint64_t sum_of(const struct block *block) {
	uint64_t sum = block->number * 31 + block->generation;
	for (unsigned i = 0; i < sizeof block->words / 8; i++) sum = (sum << 5 | sum >> 59) ^ block->words[i];
	return sum;
}

static void make(struct block *block, uint64_t number, uint64_t generation) {
	uint64_t state = number << 32 ^ generation;
	block->number = number;
	block->generation = generation;
	for (unsigned i = 0; i < sizeof block->words / 8; i++) block->words[i] = next_random(&state);
	block->sum = sum_of(block);
}

static void check(const struct block *block, uint64_t number, uint64_t least, uint64_t most) {
	if (block->number != number) bad("block %lu says it is %lu", number, block->number);
	if (block->sum != sum_of(block)) bad("block %lu has a wrong checksum", number);
	if (block->generation < least || block->generation > most) {
		bad("block %lu is of generation %lu, not %lu to %lu", number, block->generation, least, most);
	}
}

static int open_file(int flags) {
	int fd = open(path, flags, 0600);
	if (fd < 0) bad("open: %m");
	return fd;
}

static struct block *buffer(unsigned count) {
	void *memory;
	if (posix_memalign(&memory, BLOCK, count * sizeof(struct block)) != 0) bad("no memory");
	return memory;
}

static double now(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* Each thread has blocks of its own, so that it knows what they hold. */
static void *mix(void *argument) {
	uint64_t index = (uintptr_t)argument, share = blocks / threads, first = index * share, random = index + 1;
	int fd = open_file(O_RDWR | O_DIRECT);
	uint32_t *generations = calloc(share, sizeof *generations);
	struct block *memory = buffer(MOST);
	uint64_t generation = 0;
	for (uint64_t at = 0; at < share; at++) {
		make(memory, first + at, 0);
		if (pwrite(fd, memory, BLOCK, (first + at) * BLOCK) != BLOCK) bad("write: %m");
	}
	for (double end = now() + seconds; now() < end;) {
		uint64_t count = 1 + next_random(&random) % MOST, at = next_random(&random) % (share - count + 1);
		size_t length = count * BLOCK;
		off_t offset = (first + at) * BLOCK;
		unsigned kind = next_random(&random) % 16;
		if (kind == 0) {
			if (fdatasync(fd) != 0) bad("fdatasync: %m");
		} else if (kind < 8) {
			generation++;
			for (uint64_t i = 0; i < count; i++) {
				make(&memory[i], first + at + i, generation);
				generations[at + i] = generation;
			}
			if (pwrite(fd, memory, length, offset) != (ssize_t)length) bad("write: %m");
		} else {
			if (pread(fd, memory, length, offset) != (ssize_t)length) bad("read: %m");
			for (uint64_t i = 0; i < count; i++) check(&memory[i], first + at + i, generations[at + i], generations[at + i]);
		}
		__atomic_add_fetch(&operations, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&bytes, length, __ATOMIC_RELAXED);
	}
	for (uint64_t at = 0; at < share; at++) {
		if (pread(fd, memory, BLOCK, (first + at) * BLOCK) != BLOCK) bad("read: %m");
		check(memory, first + at, generations[at], generations[at]);
	}
	close(fd);
	return NULL;
}

static void flood(void) {
	int fd = open_file(O_RDWR | O_CREAT);
	struct block *memory = buffer(1);
	for (uint64_t generation = 1;; generation++) {
		for (uint64_t at = 0; at < blocks; at++) {
			make(memory, at, generation);
			if (pwrite(fd, memory, BLOCK, at * BLOCK) != BLOCK) bad("write: %m");
		}
		if (fsync(fd) != 0) bad("fsync: %m");
		printf("SYNCED %lu\n", generation);
		fflush(stdout);
	}
}

static void verify(uint64_t generation) {
	int fd = open_file(O_RDONLY);
	struct block *memory = buffer(1);
	for (uint64_t at = 0; at < blocks; at++) {
		if (pread(fd, memory, BLOCK, at * BLOCK) != BLOCK) bad("read: %m");
		check(memory, at, generation, -1ul);
	}
	operations = blocks;
	bytes = blocks * BLOCK;
}

int main(int count, char **words) {
	if (count < 4) return 2;
	path = words[2];
	blocks = atol(words[3]) * (1 << 20) / BLOCK;
	if (strcmp(words[1], "mix") == 0 && count == 6) {
		seconds = atof(words[4]);
		threads = atoi(words[5]);
		pthread_t ids[threads];
		for (uintptr_t i = 0; i < threads; i++) pthread_create(&ids[i], NULL, mix, (void *)i);
		for (unsigned i = 0; i < threads; i++) pthread_join(ids[i], NULL);
	} else if (strcmp(words[1], "flood") == 0) {
		flood();
	} else if (strcmp(words[1], "verify") == 0 && count == 5) {
		verify(atol(words[4]));
	} else {
		return 2;
	}
	printf("IOMIX OK %s operations=%lu bytes=%lu\n", path, operations, bytes);
	return 0;
}
