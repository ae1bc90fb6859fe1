/* Memory: the machine's RAM as the PVH start info tells it, and an arena of zeroed memory that only grows. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define PAGE 4096ul
/* From here on RAM is the arena's; below are the image, page tables and stacks. */
#define ARENA 0x400000ul

/* A range of RAM, in guest-physical addresses. */
struct ram {
	uint64_t start, end;
};

/* Fills in at most `limit` ranges of RAM; gives how many there are. */
unsigned ram_ranges(struct ram *ranges, unsigned limit);

/* The end of the RAM that starts at or below 1 MiB. `ram=` (MiB) overrides what the machine says. */
uint64_t ram_end(void);

/* `size` zeros, aligned to `alignment` (a power of two). Without enough RAM the guest ends with EXIT_ARGUMENT. */
void *arena_take(size_t size, size_t alignment);

/* Bytes that are left for `arena_take`. */
size_t arena_left(void);

/* What the arena may use ends at this guest-physical address from now on. */
void arena_limit(uint64_t end);

void *memset(void *to, int byte, size_t size);
void *memcpy(void *restrict to, const void *restrict from, size_t size);
int memcmp(const void *left, const void *right, size_t size);
