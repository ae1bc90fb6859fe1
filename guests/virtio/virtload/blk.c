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

/* The blocks that are used of the disk that is there now. */
static uint64_t present(struct load *load) {
	struct blk *blk = load->state;
	uint64_t capacity = config64(&load->device, BLK_CAPACITY) / (BLOCK / SECTOR);
	return capacity < blk->most ? capacity : blk->most;
}

static struct blk *allocate(struct load *load) {
	struct blk *blk = load_state(load, sizeof *blk);
	blk->random = load->device.base;
	blk->most = parameter_within("blkblocks", 512, SPAN, 1 << 20);
	blk->plugs = parameter_within("plug", 0, 0, 1);
	blk->blocks = present(load);
	if (blk->blocks == 0 && !blk->plugs) bad("%s is smaller than %lu bytes", load->name, BLOCK);
	blk->generation = arena_take(blk->most * sizeof *blk->generation, 8);
	blk->locked = arena_take(blk->most, 8);
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

/* A disk has come or gone: of another one nothing is known, nor of what is on its way. */
static void config(struct load *load) {
	struct blk *blk = load->state;
	uint64_t blocks = present(load);
	if (!blk->plugs || blocks == blk->blocks) return;
	blk->blocks = blocks;
	memset(blk->generation, 0, blk->most * sizeof *blk->generation);
	for (unsigned i = 0; i < DEPTH; i++) blk->requests[i].generation = 0;
	print("PLUG %s blocks=%lu\n", load->name, blocks);
	submit(load);
}

static bool waits(const struct load *load) {
	const struct blk *blk = load->state;
	return blk->queue.with_device != 0;
}

const struct driver blk_driver = {ID_BLK, true, start, serve, config, submit, waits, NULL};
