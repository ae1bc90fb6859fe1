/* Balloons (virtio 1.2, 5.5): follows num_pages with pages of an own region, gives statistics, reports free pages. */
#include "load.h"
#include "machine.h"
#include "memory.h"
#include "print.h"
#include "words.h"
#include <stddef.h>

#define F_MUST_TELL_HOST BIT(0)
#define F_STATS_VQ BIT(1)
#define F_FREE_PAGE_HINT BIT(3)
#define F_PAGE_REPORTING BIT(5)
#define CONFIG_NUM_PAGES 0
#define CONFIG_ACTUAL 4
/* Pages of a request at most. */
#define BATCH 256
/* Free memory is reported in so many ranges of so many bytes at once, each so many ticks. */
#define RANGES 4
#define RANGE_BYTES 0x20000ul
#define REPORT_TICKS TICKS

enum { STAT_MEMFREE = 4, STAT_MEMTOT = 5, STAT_AVAIL = 6 };

/* 5.5.6.3 */
struct statistic {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed));

struct balloon {
	struct queue inflate, deflate, statistics, reporting;
	uint32_t frames[BATCH];
	/* Pages of the region that the device has, and that the request in flight moves. The first ones are inflated. */
	uint32_t pages, inflated, moving;
	uint8_t *region, *ranges;
	struct statistic told[3];
	unsigned ticks;
};

/* A page that is the guest's again must work as memory does. */
static void try_memory(struct load *load, uint8_t *at, uint64_t seed) {
	volatile uint64_t *first = (uint64_t *)at, *last = (uint64_t *)(at + PAGE) - 1;
	*first = seed;
	*last = ~seed;
	if (*first != seed || *last != ~seed) bad("%s memory at 0x%lx lost what was written", load->name, (uint64_t)at);
}

static void write_actual(struct load *load, uint32_t pages) {
	write32(load->device.base + REG_CONFIG + CONFIG_ACTUAL, pages);
}

/* One request at a time goes in the direction of num_pages. */
static void submit(struct load *load) {
	struct balloon *balloon = load->state;
	uint32_t goal = config32(&load->device, CONFIG_NUM_PAGES);
	if (goal > balloon->pages) goal = balloon->pages;
	if (balloon->moving != 0 || goal == balloon->inflated || !load_begins(load)) return;
	bool up = goal > balloon->inflated;
	uint32_t count = up ? goal - balloon->inflated : balloon->inflated - goal;
	if (count > BATCH) count = BATCH;
	uint32_t first = up ? balloon->inflated : balloon->inflated - count;
	for (uint32_t i = 0; i < count; i++) balloon->frames[i] = (uintptr_t)balloon->region / PAGE + first + i;
	struct segment part = {(uintptr_t)balloon->frames, count * sizeof *balloon->frames, false};
	struct queue *queue = up ? &balloon->inflate : &balloon->deflate;
	if (!queue_add(queue, &part, 1, NULL)) bad("%s queue is full", load->name);
	balloon->moving = count;
	queue_kick(queue);
}

static void moved(struct load *load, struct queue *queue) {
	struct balloon *balloon = load->state;
	if (queue == &balloon->inflate) {
		balloon->inflated += balloon->moving;
	} else {
		balloon->inflated -= balloon->moving;
		for (uint32_t i = 0; i < balloon->moving; i++) {
			try_memory(load, balloon->region + (balloon->inflated + i) * PAGE, load->done + i);
		}
	}
	balloon->moving = 0;
	write_actual(load, balloon->inflated);
	load_ended(load);
}

/* The device keeps the buffer until it wants news (5.5.6.3). */
static void give_statistics(struct load *load) {
	struct balloon *balloon = load->state;
	uint64_t left = (balloon->pages - balloon->inflated) * PAGE;
	balloon->told[0] = (struct statistic){STAT_MEMFREE, left};
	balloon->told[1] = (struct statistic){STAT_MEMTOT, ram_end()};
	balloon->told[2] = (struct statistic){STAT_AVAIL, left};
	struct segment part = {(uintptr_t)balloon->told, sizeof balloon->told, false};
	if (!queue_add(&balloon->statistics, &part, 1, NULL)) bad("%s statistics queue is full", load->name);
	queue_kick(&balloon->statistics);
}

/* The host may do away with what stood in the ranges until it gives them back (5.5.6.5). */
static void report(struct load *load) {
	struct balloon *balloon = load->state;
	if (balloon->reporting.with_device != 0 || !load_begins(load)) return;
	struct segment parts[RANGES];
	for (unsigned i = 0; i < RANGES; i++) {
		parts[i] = (struct segment){(uintptr_t)balloon->ranges + i * RANGE_BYTES, RANGE_BYTES, true};
	}
	if (!queue_add(&balloon->reporting, parts, RANGES, NULL)) bad("%s reporting queue is full", load->name);
	queue_kick(&balloon->reporting);
}

static void reported(struct load *load) {
	struct balloon *balloon = load->state;
	for (uint64_t at = 0; at < RANGES * RANGE_BYTES; at += PAGE) {
		try_memory(load, balloon->ranges + at, load->done + at);
	}
	load_ended(load);
}

static void serve(struct load *load) {
	struct balloon *balloon = load->state;
	struct queue *moves[] = {&balloon->inflate, &balloon->deflate};
	struct used used;
	for (unsigned i = 0; i < 2; i++) {
		do {
			if (queue_take(moves[i], &used)) moved(load, moves[i]);
		} while (queue_listen(moves[i]));
	}
	if (device_has(&load->device, F_STATS_VQ)) {
		do {
			if (!queue_take(&balloon->statistics, &used)) continue;
			load_ended(load);
			give_statistics(load);
		} while (queue_listen(&balloon->statistics));
	}
	if (device_has(&load->device, F_PAGE_REPORTING)) {
		do {
			if (queue_take(&balloon->reporting, &used)) reported(load);
		} while (queue_listen(&balloon->reporting));
	}
	submit(load);
}

static void tick(struct load *load) {
	struct balloon *balloon = load->state;
	submit(load);
	if (!device_has(&load->device, F_PAGE_REPORTING) || ++balloon->ticks % REPORT_TICKS != 0) return;
	report(load);
}

static void start(struct load *load) {
	bool again = load->state != NULL;
	struct balloon *balloon = load_state(load, sizeof *balloon);
	load_negotiate(load, F_MUST_TELL_HOST | F_STATS_VQ | F_PAGE_REPORTING);
	if (!again) {
		balloon->pages = parameter_within("balloon", 4, 0, 1 << 20) << 8;
		balloon->region = arena_take(balloon->pages * PAGE, PAGE);
		balloon->ranges = arena_take(RANGES * RANGE_BYTES, RANGE_BYTES);
	}
	/* A reset gives all pages back (5.5.5). */
	balloon->moving = balloon->inflated = 0;
	load_queue(load, 0, &balloon->inflate, 1);
	load_queue(load, 1, &balloon->deflate, 1);
	/* Queues of features that are missing are not counted. */
	unsigned next = 2;
	if ((load->device.offered & F_STATS_VQ) != 0) load_queue(load, next++, &balloon->statistics, 1);
	if ((load->device.offered & F_FREE_PAGE_HINT) != 0) next++;
	if ((load->device.offered & F_PAGE_REPORTING) != 0) load_queue(load, next, &balloon->reporting, RANGES);
	device_ready(&load->device);
	if (!again) device_print(&load->device, &balloon->inflate);
	write_actual(load, 0);
	if (device_has(&load->device, F_STATS_VQ)) give_statistics(load);
	serve(load);
}

static bool waits(const struct load *load) {
	const struct balloon *balloon = load->state;
	return balloon->moving != 0 || balloon->reporting.with_device != 0;
}

const struct driver balloon_driver = {ID_BALLOON, false, start, serve, submit, tick, waits, NULL};
