/* What the drivers of virtload have in common: one is a `struct driver`, a device that it drives a `struct load`. */
#pragma once
#include "device.h"
#include <stdbool.h>
#include <stdint.h>

/* Ticks of the timer in a second. */
#define TICKS 10
/* Queues of a device at most. */
#define QUEUES 20

struct load {
	struct device device;
	const struct driver *driver;
	/* The device's type, and from the second of a type on its number: "blk", "blk1". */
	char name[12];
	/* The driver's; stays when the device is reset. */
	void *state;
	/* Operations that came to their end, and how many may be begun before the next tick. */
	uint64_t done, budget;
	/* The clock when the device last got something done. */
	uint64_t moved;
	/* How often it had to be reset. */
	uint64_t resets;
	/* The queues that it was given. */
	struct queue *queues[QUEUES];
	unsigned queue_count;
};

struct driver {
	uint32_t id;
	/* Whether `rounds=` counts its operations. */
	bool counted;
	/* Initialises the device, for the first time or again, and begins. */
	void (*start)(struct load *load);
	/* After an interrupt for used buffers: looks at the rings, goes on. */
	void (*serve)(struct load *load);
	/* After an interrupt for a changed configuration; NULL if that means nothing. */
	void (*config)(struct load *load);
	/* Each tick: begins what the budget held back. Looks at no used ring. */
	void (*tick)(struct load *load);
	/* Whether the device owes something. */
	bool (*waits)(const struct load *load);
	/* Prints further ` key=value` for the summary; NULL if there is none. */
	void (*summary)(const struct load *load);
};

extern const struct driver blk_driver, net_driver, console_driver, rng_driver, balloon_driver, vsock_driver;

/* Time stamps that passed while the guest ran: a gap of more than a second or so, as of a guest that was stopped and
 * started again, counts as one of CLOCK_STEP. */
#define CLOCK_STEP 1000000000ul
extern uint64_t load_clock;

/* No new operations are begun any more. */
extern bool load_stopping;

/* Whether to begin another operation; takes it off the budget. */
bool load_begins(struct load *load);

/* An operation came to its end. */
void load_ended(struct load *load);

/* The device did something. */
void load_moved(struct load *load);

/* Negotiates; a device that refuses what it offers ends the guest. */
void load_negotiate(struct load *load, uint64_t wanted);

/* Sets up a queue that must be there. */
void load_queue(struct load *load, unsigned index, struct queue *queue, unsigned segments);

/* The state of a driver: `size` zeroed bytes for a load that has none yet. */
void *load_state(struct load *load, unsigned long size);
