/* blkbench: keeps a number of requests in flight on a block device. See guests/README.md for its contract. */
#include "blk.h"
#include "device.h"
#include "interrupts.h"
#include "machine.h"
#include "memory.h"
#include "print.h"
#include "random.h"
#include "words.h"
#include <stddef.h>

#define PARTS_MAX 32

static const char *const modes[] = {"randread", "randwrite", "seqread", "seqwrite"};

struct request {
	struct blk_header header;
	uint8_t status;
	uint8_t *data;
};

static struct device device;
static struct queue queue;
static uint64_t block, blocks, parts, random, next_block, errors, added;
static bool is_write, is_random;

static void submit(struct request *request) {
	uint64_t at = is_random ? random_below(&random, blocks) : next_block;
	if (++next_block == blocks) next_block = 0;
	request->header = (struct blk_header){is_write ? BLK_OUT : BLK_IN, 0, at * (block / SECTOR)};
	request->status = 0xff;
	struct segment segments[PARTS_MAX + 2];
	segments[0] = (struct segment){(uintptr_t)&request->header, sizeof request->header, false};
	uint64_t part = block / parts;
	for (uint64_t i = 0; i < parts; i++) {
		segments[i + 1] = (struct segment){(uintptr_t)request->data + i * part, part, !is_write};
	}
	segments[parts + 1] = (struct segment){(uintptr_t)&request->status, 1, true};
	if (!queue_add(&queue, segments, parts + 2, request)) bad("blk queue is too small for %lu requests", added + 1);
	added++;
}

/* Waits for at least one used buffer; takes what there is, and goes on with those requests until `until` were added. */
static uint64_t complete(uint64_t until) {
	uint64_t count = 0;
	struct used used;
	for (;;) {
		if (options.interrupts) interrupts_begin();
		while (queue_take(&queue, &used)) {
			struct request *request = used.token;
			uint32_t expected = is_write ? 1 : block + 1;
			if (__atomic_load_n(&request->status, __ATOMIC_RELAXED) != BLK_OK || used.length != expected) errors++;
			count++;
			if (added < until) submit(request);
		}
		if (count != 0) {
			queue_kick(&queue);
			return count;
		}
		if (!options.interrupts) relax();
		else if (!queue_listen(&queue)) interrupts_wait();
	}
}

static void run(struct request *requests, uint64_t depth, uint64_t count) {
	added = 0;
	for (uint64_t i = 0; i < depth && added < count; i++) submit(&requests[i]);
	queue_kick(&queue);
	for (uint64_t done = 0; done < count;) done += complete(count);
}

static void start(uint64_t depth) {
	unsigned slot = 0;
	do {
		if (!device_find(&device, &slot)) {
			print("no block device\n");
			end(EXIT_ARGUMENT);
		}
	} while (device.id != ID_BLK);
	if (!device_negotiate(&device, BLK_F_RO | BLK_F_SEG_MAX | BLK_F_FLUSH)) bad("blk refuses its own features");
	if (is_write && device_has(&device, BLK_F_RO)) {
		print("the block device is read-only\n");
		end(EXIT_ARGUMENT);
	}
	if (!device_queue(&device, 0, &queue, parts + 2)) bad("blk has no queue");
	device_ready(&device);
	device_print(&device, &queue);
	if (options.interrupts) interrupts_start(options.level);
	else queue_quiet(&queue);
	uint64_t capacity = config64(&device, BLK_CAPACITY) / (block / SECTOR);
	blocks = parameter_within("blocks", capacity, 0, capacity);
	uint64_t room = queue.indirect ? queue.size : queue.size / (parts + 2);
	if (blocks == 0 || depth > room) {
		print("capacity %lu blocks, room in the queue for %lu requests: too little\n", blocks, room);
		end(EXIT_ARGUMENT);
	}
}

int main(void) {
	options_read(false);
	unsigned mode = parameter_choice("mode", modes, 4);
	uint64_t depth = parameter_within("depth", 1, 1, 128);
	uint64_t operations = parameter_within("ops", 10000, 1, 1ul << 40);
	uint64_t warmup = parameter_within("warmup", 0, 0, 1ul << 40);
	block = parameter_within("block", 4096, SECTOR, 1 << 20) & -SECTOR;
	parts = parameter_within("parts", 1, 1, PARTS_MAX);
	random = parameter_within("seed", 1, 1, -1ul);
	is_write = (mode & 1) != 0;
	is_random = mode < 2;
	start(depth);
	struct request *requests = arena_take(depth * sizeof *requests, 64);
	for (uint64_t i = 0; i < depth; i++) {
		requests[i].data = arena_take(block, PAGE);
		for (uint64_t word = 0; word < block / 8; word++) ((uint64_t *)requests[i].data)[word] = random_next(&random);
	}

	if (warmup != 0) run(requests, depth, warmup);
	errors = 0;
	uint64_t doorbells = queue.doorbells, interrupts = interrupts_taken, begin = tsc();
	print("begin %lu\n", begin);
	run(requests, depth, operations);
	uint64_t finish = tsc();
	print("end %lu %lu\n", finish, operations);
	print("blkbench: mode=%s depth=%lu block=%lu ops=%lu", modes[mode], depth, block, operations);
	print(" bytes=%lu tsc=%lu errors=%lu", operations * block, finish - begin, errors);
	print(" notifications=%lu interrupts=%lu\n", queue.doorbells - doorbells, interrupts_taken - interrupts);
	return errors == 0 ? EXIT_OK : EXIT_BAD;
}
