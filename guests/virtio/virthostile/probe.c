/* Valid requests: a device that survived an attack answers them. */
#include "blk.h"
#include "machine.h"
#include "memory.h"
#include "net.h"
#include "print.h"
#include "target.h"
#include <stddef.h>

#define PARTS 3
#define BYTES 512u
#define UNTOUCHED 0x5a

/* The guest's own memory, which no attack tells a device of. */
static uint8_t data[PAGE] __attribute__((aligned(4096)));
static struct blk_header header;
static uint8_t status;

static bool answered(struct queue *queue, uint64_t patience, uint32_t *length) {
	uint64_t start = tsc();
	struct used used;
	queue_kick(queue);
	while (!queue_take(queue, &used)) {
		if (tsc() - start > patience) return false;
		relax();
	}
	*length = used.length;
	return true;
}

static bool exchange(struct queue *queue, const struct segment *parts, unsigned count, uint64_t patience,
	uint32_t *length) {
	return queue_add(queue, parts, count, NULL) && answered(queue, patience, length);
}

static bool probe_blk(struct target *target, uint64_t patience) {
	header = (struct blk_header){BLK_IN, 0, 0};
	status = 0xff;
	struct segment parts[] = {
		{(uintptr_t)&header, sizeof header, false}, {(uintptr_t)data, SECTOR, true}, {(uintptr_t)&status, 1, true},
	};
	uint32_t length;
	bool fine = exchange(&target->valid[0], parts, 3, patience, &length);
	return fine && length == SECTOR + 1 && *(volatile uint8_t *)&status == BLK_OK;
}

static bool probe_rng(struct target *target, uint64_t patience) {
	struct segment part = {(uintptr_t)data, 64, true};
	uint32_t length;
	return exchange(&target->valid[0], &part, 1, patience, &length) && length >= 1;
}

/* Something goes out: a frame, or a line of text. */
static bool probe_send(struct target *target, uint64_t patience) {
	memset(data, 0, sizeof data);
	uint32_t bytes = target->device.id == ID_NET ? NET_HEADER + FRAME_LEAST : 1;
	if (target->device.id == ID_NET) {
		struct ethernet *ethernet = (struct ethernet *)(data + NET_HEADER);
		memset(ethernet->to, 0xff, 6);
		ethernet->from[0] = 2;
		ethernet->type = big16(ETHERTYPE_LOCAL);
	} else {
		data[0] = '\n';
	}
	struct segment part = {(uintptr_t)data, bytes, false};
	uint32_t length;
	return exchange(&target->valid[1], &part, 1, patience, &length);
}

static bool probe_balloon(struct target *target, uint64_t patience) {
	static uint8_t page[PAGE] __attribute__((aligned(4096)));
	uint32_t frame = (uintptr_t)page / PAGE, length;
	memcpy(data, &frame, sizeof frame);
	struct segment part = {(uintptr_t)data, sizeof frame, false};
	return exchange(&target->valid[0], &part, 1, patience, &length) &&
		exchange(&target->valid[1], &part, 1, patience, &length);
}

/* Asks for a connection to a port that nobody listens on, or somebody; either answer will do. */
static bool probe_vsock(struct target *target, uint64_t patience) {
	static uint8_t answers[4][BYTES];
	for (unsigned i = 0; i < 4; i++) {
		struct segment part = {(uintptr_t)answers[i], BYTES, true};
		if (!queue_add(&target->valid[0], &part, 1, NULL)) return false;
	}
	queue_kick(&target->valid[0]);
	uint64_t cid = config64(&target->device, 0);
	uint32_t rest[] = {0x60000000, 1023, 0, 1 | 1 << 16, 0, 0x10000, 0}, length;
	memcpy(data, &cid, 8);
	memcpy(data + 8, &(uint64_t){2}, 8);
	memcpy(data + 16, rest, sizeof rest);
	struct segment part = {(uintptr_t)data, 44, false};
	return exchange(&target->valid[1], &part, 1, patience, &length) && answered(&target->valid[0], patience, &length) &&
		length >= 44;
}

bool probe(struct target *target, uint64_t patience) {
	target->set_up = false;
	if (!device_negotiate(&target->device, 0)) return false;
	unsigned queues = target->device.id == ID_BLK || target->device.id == ID_RNG ? 1 : 2;
	for (unsigned i = 0; i < queues; i++) {
		if (!device_queue(&target->device, i, &target->valid[i], PARTS)) return false;
		queue_quiet(&target->valid[i]);
	}
	device_ready(&target->device);
	switch (target->device.id) {
	case ID_BLK: return probe_blk(target, patience);
	case ID_RNG: return probe_rng(target, patience);
	case ID_BALLOON: return probe_balloon(target, patience);
	case ID_VSOCK: return probe_vsock(target, patience);
	default: return probe_send(target, patience);
	}
}
