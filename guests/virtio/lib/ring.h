/* What the two layouts of a queue share and have each of their own. Drivers need queue.h only. */
#pragma once
#include "queue.h"

/* Descriptor flags (virtio 1.2, 2.7.5 and 2.8.1). */
enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_AVAIL = 1 << 7, DESC_USED = 1 << 15 };

/* A descriptor in a ring or in an indirect table (virtio 1.2, 2.7.5 and 2.8.13). */
struct split_descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};
struct packed_descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t id, flags;
};

/* A full barrier: what was stored before is seen before what is loaded after is read (virtio 1.2, 2.7.13.3.1). */
static inline void fence(void) {
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Bytes of the three areas. */
struct areas {
	uint32_t ring, driver, device;
};

/* One layout of rings. */
struct layout {
	struct areas (*areas)(uint32_t size);
	/* Empties the zeroed areas' private side: ids, counters. */
	void (*start)(struct queue *queue);
	/* Fills an indirect table. */
	void (*fill)(void *table, const struct segment *parts, unsigned count);
	/* Makes a chain of buffer `id` (that is `free_head`) available; there is room. `flags` go into each descriptor. */
	void (*write)(struct queue *queue, uint16_t id, const struct segment *parts, unsigned count, uint16_t flags);
	/* After a full barrier: whether the device wants to hear of what was made available since the last time. */
	bool (*wants_doorbell)(struct queue *queue);
	/* Reads the next used element; false if there is none. */
	bool (*peek)(const struct queue *queue, uint32_t *id, uint32_t *length);
	/* Steps over the used element of buffer `id`, whose descriptors are free then. */
	void (*release)(struct queue *queue, uint16_t id);
	void (*quiet)(struct queue *queue);
	/* Asks for an interrupt by the next used buffer. */
	void (*listen)(struct queue *queue);
};

extern const struct layout split_layout, packed_layout;

/* Whether a counter that went from `before` to `now` passed `event` (virtio 1.2, 2.7.7.1). */
static inline bool has_passed(uint16_t event, uint16_t now, uint16_t before) {
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}
