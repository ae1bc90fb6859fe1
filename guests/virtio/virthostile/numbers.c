#include "numbers.h"
#include "memory.h"
#include "print.h"
#include "random.h"

#define SANDBOX 0x400000ul
/* The start of the sandbox has the rings; then comes what a balloon may read; the rest is for buffers. */
#define RINGS (SLOTS_OF_RINGS * RINGS_BYTES)
#define SLOTS_OF_RINGS (8 * QUEUES)
/* Twice the longest buffer that is not longer than all RAM. */
#define FRAMES 0x20000ul
#define RAM_MOST 0x40000000ul
#define ADDRESSES 128
/* Nobody uses these parts of RAM: the first ends where the arena starts, the other where the sandbox does. */
#define WATCHED 0x80000ul
#define WATCHED_WORD 0xc0deba70c0deba70ul

static uint64_t state, sandbox, sandbox_end;
static uint64_t addresses[ADDRESSES];
static unsigned count, count_for_balloon;
static bool registers_too;
/* Hidden from the compiler, which takes it for NULL. */
static volatile uint64_t low_memory;
#define LOW_BYTES 0x10000ul

static void add(uint64_t address) {
	if (count < ADDRESSES) addresses[count++] = address;
}

/* Random bytes could be read as the number of one of the guest's own pages: with none of them small, also where they
 * are not aligned, such a number is far behind RAM. */
static void fill(void) {
	for (uint64_t at = sandbox + RINGS; at < sandbox_end; at += 4) {
		*(uint32_t *)at = random_next(&state) | 0x40404040;
	}
	/* Here goes on what a device reads that takes 2^64 for 0. */
	memset((void *)low_memory, 0x40, LOW_BYTES);
}

static void watch(void) {
	for (uint64_t at = 0; at < WATCHED; at += 8) {
		*(uint64_t *)(ARENA - WATCHED + at) = WATCHED_WORD;
		*(uint64_t *)(sandbox - WATCHED + at) = WATCHED_WORD;
	}
}

void numbers_check(void) {
	const uint64_t ends[] = {ARENA, sandbox};
	for (unsigned i = 0; i < 2; i++) {
		for (uint64_t at = ends[i] - WATCHED; at < ends[i]; at += 8) {
			if (*(volatile uint64_t *)at != WATCHED_WORD) bad("memory at 0x%lx was written", at);
		}
	}
}

void numbers_start(uint64_t seed, bool mmio) {
	struct ram ranges[16];
	unsigned known = ram_ranges(ranges, 16);
	state = seed;
	registers_too = mmio;
	sandbox_end = ram_end();
	if (sandbox_end > RAM_MOST || sandbox_end < ARENA + 2 * SANDBOX) {
		print("virthostile needs from 12 MiB to 1 GiB of RAM\n");
		end(EXIT_ARGUMENT);
	}
	sandbox = sandbox_end - SANDBOX;
	arena_limit(sandbox - WATCHED);
	fill();
	watch();
	/* First those that lie in no RAM. */
	static const uint64_t nowhere[] = {
		0xd0000000, 0xffffffff, 0x100000000, 0x8000000000, 0x800000000000, 0xfffffffff000,
		1ul << 52, 1ul << 62, 1ul << 63, -4096ul, -16ul, -1ul,
	};
	for (unsigned i = 0; i < sizeof nowhere / sizeof *nowhere; i++) add(nowhere[i]);
	add(sandbox_end);
	add(sandbox_end + 4096);
	count_for_balloon = count;
	for (unsigned i = 0; i < known; i++) add(ranges[i].end);
	for (unsigned i = 0; i < known; i++) {
		add(ranges[i].end - 1);
		add(ranges[i].end - 16);
		add(ranges[i].end - 4096);
		if (ranges[i].start >= sandbox_end) add(ranges[i].start);
	}
	add(sandbox_end - 1);
	add(sandbox_end - 4096);
	add(sandbox + RINGS + FRAMES + 1);
}

void numbers_add_device(uint64_t base) {
	if (!registers_too) return;
	add(base);
	add(base + 0x50);
	add(base + 0x100);
}

uint64_t any_number(void) {
	return random_next(&state);
}

uint64_t any_below(uint64_t bound) {
	return random_below(&state, bound);
}

bool once_in(unsigned chance) {
	return any_below(chance) == 0;
}

uint64_t any_buffer(const struct target *target, uint32_t bytes) {
	bool balloon = target->device.id == ID_BALLOON;
	uint64_t start = sandbox + RINGS + (balloon ? 0 : FRAMES);
	uint64_t end = balloon ? sandbox + RINGS + FRAMES / 2 : sandbox_end;
	uint64_t room = end - start - (bytes < end - start ? bytes : 0);
	return start + any_below(room);
}

static uint64_t any_edge(const struct target *target) {
	return addresses[any_below(target->device.id == ID_BALLOON ? count_for_balloon : count)];
}

uint64_t any_address(const struct target *target) {
	return once_in(3) ? any_edge(target) : any_buffer(target, 0x1000);
}

uint32_t any_length(void) {
	static const uint32_t lengths[] = {
		0, 1, 2, 3, 4, 8, 11, 12, 15, 16, 17, 20, 43, 44, 45, 511, 512, 513, 1024, 1526, 4095, 4096, 4097,
		0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffff000, 0xfffffff0, 0xffffffff,
	};
	return lengths[any_below(sizeof lengths / sizeof *lengths)];
}

uint64_t rings_of(const struct target *target, unsigned queue) {
	return sandbox + (target->device.slot % 8 * QUEUES + queue) * RINGS_BYTES;
}

/* What stands in a ring or a table must not become a page number of a balloon: the free half of the rings' room. */
static uint64_t beside_rings(const struct target *target) {
	return rings_of(target, any_below(QUEUES)) + RINGS_BYTES / 2 + any_below(0x300) * 16;
}

uint64_t any_table(const struct target *target) {
	if (target->device.id == ID_BALLOON) return beside_rings(target);
	return any_buffer(target, 0x1000) & -16ul;
}

uint64_t any_ring(const struct target *target) {
	return once_in(3) ? any_edge(target) : any_table(target);
}
