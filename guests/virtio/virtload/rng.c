/* Entropy devices (virtio 1.2, 5.4): requests of varying size, whose answers must look random. */
#include "load.h"
#include "memory.h"
#include "print.h"
#include "random.h"
#include <stddef.h>

#define REQUESTS 4
#define BYTES 256
/* So many random bytes are neither all zeros nor the last ones again. */
#define TELLING 16
#define UNTOUCHED 0x5a

struct request {
	uint32_t size;
	bool busy;
	uint8_t bytes[BYTES];
};

struct rng {
	struct queue queue;
	struct request requests[REQUESTS];
	uint64_t random;
	uint8_t last[TELLING];
};

static void submit(struct load *load) {
	struct rng *rng = load->state;
	for (unsigned i = 0; i < REQUESTS; i++) {
		struct request *request = &rng->requests[i];
		if (request->busy || !load_begins(load)) continue;
		request->size = 1 + random_below(&rng->random, BYTES);
		request->busy = true;
		memset(request->bytes, UNTOUCHED, BYTES);
		uint64_t at = (uintptr_t)request->bytes;
		uint32_t first = random_below(&rng->random, request->size);
		struct segment parts[] = {{at, first, true}, {at + first, request->size - first, true}};
		bool one = first == 0;
		if (!queue_add(&rng->queue, parts + one, 2 - one, request)) bad("%s queue is full", load->name);
	}
	queue_kick(&rng->queue);
}

static void check(struct load *load, struct request *request, uint32_t length) {
	struct rng *rng = load->state;
	request->busy = false;
	if (length == 0) bad("%s gave nothing for %u bytes", load->name, request->size);
	if (!rng->queue.in_order) {
		for (uint32_t i = length; i < BYTES; i++) {
			if (request->bytes[i] != UNTOUCHED) bad("%s wrote behind the %u bytes that it told of", load->name, length);
		}
	}
	if (length < TELLING) return;
	static const uint8_t zeros[TELLING];
	if (memcmp(request->bytes, zeros, TELLING) == 0) bad("%s gave zeros", load->name);
	if (memcmp(request->bytes, rng->last, TELLING) == 0) bad("%s gave the same again", load->name);
	memcpy(rng->last, request->bytes, TELLING);
}

static void serve(struct load *load) {
	struct rng *rng = load->state;
	struct used used;
	do {
		queue_quiet(&rng->queue);
		while (queue_take(&rng->queue, &used)) {
			check(load, used.token, used.length);
			load_ended(load);
		}
		submit(load);
	} while (queue_listen(&rng->queue));
}

static void start(struct load *load) {
	bool again = load->state != NULL;
	struct rng *rng = load_state(load, sizeof *rng);
	rng->random = load->device.base;
	for (unsigned i = 0; i < REQUESTS; i++) rng->requests[i].busy = false;
	load_negotiate(load, 0);
	load_queue(load, 0, &rng->queue, 2);
	device_ready(&load->device);
	if (!again) device_print(&load->device, &rng->queue);
	serve(load);
}

static bool waits(const struct load *load) {
	const struct rng *rng = load->state;
	return rng->queue.with_device != 0;
}

const struct driver rng_driver = {ID_RNG, true, start, serve, NULL, submit, waits, NULL};
