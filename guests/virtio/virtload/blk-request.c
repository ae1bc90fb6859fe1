#include "blk-request.h"
#include "memory.h"
#include "print.h"
#include "random.h"

#define WORDS (BLOCK / 8)
#define UNTOUCHED 0xa5

/* The word number `index` from the start of the disk, after the write number `generation`. */
static uint64_t word_of(uint64_t index, uint32_t generation) {
	uint64_t mixed = index * 0x9e3779b97f4a7c15ul + generation * 0xd1b54a32d192ed03ul;
	return (mixed ^ mixed >> 29) * 0xbf58476d1ce4e5b9ul;
}

static bool lock_blocks(struct blk *blk, struct request *request) {
	for (unsigned attempt = 0; attempt < 16; attempt++) {
		uint64_t blocks = 1 + random_below(&blk->random, SPAN);
		if (blocks > blk->blocks) continue;
		uint64_t block = random_below(&blk->random, blk->blocks - blocks + 1);
		bool locked = false;
		for (uint64_t i = 0; i < blocks; i++) locked |= blk->locked[block + i];
		if (locked) continue;
		for (uint64_t i = 0; i < blocks; i++) blk->locked[block + i] = true;
		request->block = block;
		request->blocks = blocks;
		request->bytes = blocks * BLOCK;
		return true;
	}
	return false;
}

static void fill(struct blk *blk, struct request *request) {
	request->generation = ++blk->newest;
	uint64_t *words = (uint64_t *)request->data;
	for (uint64_t i = 0; i < request->blocks * WORDS; i++) {
		words[i] = word_of(request->block * WORDS + i, request->generation);
	}
	for (uint32_t i = 0; i < request->blocks; i++) blk->generation[request->block + i] = 0;
}

bool request_choose(struct load *load, struct request *request) {
	struct blk *blk = load->state;
	if (blk->blocks == 0) return false;
	uint64_t dice = random_below(&blk->random, 100);
	request->status = 0xff;
	request->blocks = 0;
	request->header = (struct blk_header){0};
	if (dice < 4 && device_has(&load->device, BLK_F_FLUSH)) {
		request->header.type = BLK_FLUSH;
		request->bytes = 0;
	} else if (dice < 6) {
		request->header.type = BLK_GET_ID;
		request->bytes = BLK_ID_BYTES;
	} else {
		if (!lock_blocks(blk, request)) return false;
		request->header.type = dice < 50 && !device_has(&load->device, BLK_F_RO) ? BLK_OUT : BLK_IN;
		request->header.sector = request->block * (BLOCK / SECTOR);
		if (request->header.type == BLK_OUT) fill(blk, request);
	}
	if (request->header.type != BLK_OUT) memset(request->data, UNTOUCHED, request->bytes);
	return true;
}

/* A device must not care where the parts end (virtio 1.2, 2.7.4.1): they end at any byte, also within the header. */
unsigned request_cut(struct blk *blk, struct request *request, struct segment *parts) {
	unsigned count = 0, pieces = 1 + random_below(&blk->random, blk->cuts);
	uint64_t header = (uintptr_t)&request->header, at = (uintptr_t)request->data;
	uint32_t first = pieces > 1 ? 1 + random_below(&blk->random, sizeof request->header) : sizeof request->header;
	parts[count++] = (struct segment){header, first, false};
	if (first < sizeof request->header) {
		parts[count++] = (struct segment){header + first, sizeof request->header - first, false};
	}
	for (uint32_t left = request->bytes; left != 0;) {
		uint32_t length = pieces > 1 && left > 1 ? 1 + random_below(&blk->random, left - 1) : left;
		if (pieces > 1) pieces--;
		parts[count++] = (struct segment){at, length, request->header.type != BLK_OUT};
		at += length;
		left -= length;
	}
	parts[count++] = (struct segment){(uintptr_t)&request->status, 1, true};
	return count;
}

static void compare(struct load *load, const struct request *request) {
	struct blk *blk = load->state;
	const uint64_t *words = (const uint64_t *)request->data;
	for (uint64_t i = 0; i < request->blocks * WORDS; i++) {
		uint64_t index = request->block * WORDS + i;
		uint32_t generation = blk->generation[index / WORDS];
		uint64_t expected = word_of(index, generation);
		if (generation == 0 || words[i] == expected) continue;
		print("BAD %s byte=0x%lx found=0x%lx", load->name, index * 8, words[i]);
		print(" expected=0x%lx generation=%u\n", expected, generation);
		end(EXIT_BAD);
	}
}

static void unlock(struct blk *blk, struct request *request) {
	for (uint32_t i = 0; i < request->blocks; i++) blk->locked[request->block + i] = false;
	request->busy = false;
}

void request_check(struct load *load, struct request *request, uint32_t length) {
	struct blk *blk = load->state;
	uint32_t type = request->header.type;
	uint8_t status = __atomic_load_n(&request->status, __ATOMIC_RELAXED);
	if (status == BLK_IOERR && blk->plugs) {
		unlock(blk, request);
		return;
	}
	bool fine = status == BLK_OK || (type == BLK_GET_ID && status == BLK_UNSUPPORTED);
	if (!fine) bad("%s type=%u sector=%lu status=%u", load->name, type, request->header.sector, status);
	uint32_t expected = type == BLK_OUT ? 1 : request->bytes + 1;
	if (status == BLK_OK && length != expected) bad("%s type=%u used=%u not %u", load->name, type, length, expected);
	if (type == BLK_IN) compare(load, request);
	for (uint32_t i = 0; i < request->blocks && type == BLK_OUT; i++) {
		blk->generation[request->block + i] = request->generation;
	}
	unlock(blk, request);
}

void request_forget(struct blk *blk, struct request *request) {
	if (request->busy) unlock(blk, request);
}
