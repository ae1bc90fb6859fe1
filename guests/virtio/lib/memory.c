#include "memory.h"
#include "print.h"
#include "words.h"

#define START_INFO_AT 0x212000ul
#define START_INFO_MAGIC 0x336ec578u
#define E820_RAM 1

/* The start of a PVH guest, version 1 (Xen, public/arch-x86/hvm/start_info.h). */
struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, command_line, rsdp, memory_map;
	uint32_t memory_map_entries, reserved;
};

struct map_entry {
	uint64_t address, size;
	uint32_t type, reserved;
};

unsigned ram_ranges(struct ram *ranges, unsigned limit) {
	uint32_t at;
	memcpy(&at, (void *)START_INFO_AT, sizeof at);
	const struct start_info *info = (void *)(uintptr_t)at;
	if (at == 0 || info->magic != START_INFO_MAGIC || info->version < 1 || info->memory_map == 0) return 0;
	const struct map_entry *map = (void *)info->memory_map;
	unsigned found = 0;
	for (unsigned i = 0; i < info->memory_map_entries && found < limit; i++) {
		if (map[i].type != E820_RAM) continue;
		ranges[found++] = (struct ram){map[i].address, map[i].address + map[i].size};
	}
	return found;
}

uint64_t ram_end(void) {
	uint64_t said = parameter("ram", 0) << 20;
	if (said != 0) return said;
	struct ram ranges[16];
	unsigned count = ram_ranges(ranges, 16);
	for (unsigned i = 0; i < count; i++) {
		if (ranges[i].start <= 0x100000 && ranges[i].end > ARENA) return ranges[i].end;
	}
	return 16ul << 20;
}

static uint64_t next = ARENA, limit;

void *arena_take(size_t size, size_t alignment) {
	if (limit == 0) limit = ram_end();
	uint64_t at = (next + alignment - 1) & -alignment;
	if (size > limit || at > limit - size) {
		print("too little RAM: 0x%lx bytes more than 0x%lx\n", size, limit);
		end(EXIT_ARGUMENT);
	}
	next = at + size;
	return (void *)at;
}

size_t arena_left(void) {
	if (limit == 0) limit = ram_end();
	return limit > next ? limit - next : 0;
}

void arena_limit(uint64_t end) {
	limit = end;
}

/* The compiler asks for these three by name. */
void *memset(void *to, int byte, size_t size) {
	void *at = to;
	asm volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(byte) : "memory");
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
	void *at = to;
	asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size) : : "memory");
	return to;
}

int memcmp(const void *left, const void *right, size_t size) {
	const uint8_t *a = left, *b = right;
	for (size_t i = 0; i < size; i++) {
		if (a[i] != b[i]) return a[i] - b[i];
	}
	return 0;
}
