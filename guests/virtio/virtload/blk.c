/* Block devices (virtio 1.2, 5.2): writes, reads back and compares, with up to DEPTH requests in flight. */
#include "blk-request.h"
#include "memory.h"
#include "print.h"
#include "words.h"
#include <stddef.h>

static void submit(struct load *load) {
	struct blk *blk = load->state;
	for (unsigned i = 0; i < blk->depth; i++) {
		struct request *request = &blk->requests[i];
		if (request->busy || !load_begins(load) || !request_choose(load, request)) continue;
		struct segment parts[PARTS];
		unsigned count = request_cut(blk, request, parts);
		if (!queue_add(&blk->queue, parts, count, request)) bad("%s queue is full", load->name);
		request->busy = true;
	}
	queue_kick(&blk->queue);
}

static void serve(struct load *load) {
	struct blk *blk = load->state;
	struct used used;
	do {
		queue_quiet(&blk->queue);
		while (queue_take(&blk->queue, &used)) {
			request_check(load, used.token, used.length);
			load_ended(load);
		}
		submit(load);
	} while (queue_listen(&blk->queue));
}

static uint32_t least(uint32_t left, uint32_t right) {
	return left < right ? left : right;
}

static struct blk *allocate(struct load *load) {
	struct blk *blk = load_state(load, sizeof *blk);
	uint64_t capacity = config64(&load->device, BLK_CAPACITY) / (BLOCK / SECTOR);
	blk->random = load->device.base;
	blk->blocks = parameter_within("blkblocks", 512, SPAN, 1 << 20);
	if (blk->blocks > capacity) blk->blocks = capacity;
	if (blk->blocks == 0) bad("%s is smaller than %lu bytes", load->name, BLOCK);
	blk->generation = arena_take(blk->blocks * sizeof *blk->generation, 8);
	blk->locked = arena_take(blk->blocks, 8);
	for (unsigned i = 0; i < DEPTH; i++) blk->requests[i].data = arena_take(SPAN * BLOCK, PAGE);
	return blk;
}

static void start(struct load *load) {
	bool again = load->state != NULL;
	load_negotiate(load, BLK_F_SEG_MAX | BLK_F_RO | BLK_F_FLUSH);
	struct blk *blk = again ? load->state : allocate(load);
	for (unsigned i = 0; i < DEPTH; i++) request_forget(blk, &blk->requests[i]);
	load_queue(load, 0, &blk->queue, PARTS);
	blk->depth = least(DEPTH, blk->queue.size / 4);
	blk->cuts = least(CUTS, blk->queue.size / blk->depth - 3);
	if (device_has(&load->device, BLK_F_SEG_MAX)) blk->cuts = least(blk->cuts, config32(&load->device, BLK_SEG_MAX));
	device_ready(&load->device);
	if (!again) device_print(&load->device, &blk->queue);
	serve(load);
}

static bool waits(const struct load *load) {
	const struct blk *blk = load->state;
	return blk->queue.with_device != 0;
}

const struct driver blk_driver = {ID_BLK, true, start, serve, NULL, submit, waits, NULL};
