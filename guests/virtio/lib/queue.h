/* A virtqueue, the driver's side: split (virtio 1.2, 2.7) or packed (2.8). */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* A part of a buffer. */
struct segment {
	uint64_t address;
	uint32_t length;
	/* The device writes it; such parts follow those that it reads (virtio 1.2, 2.7.4.2). */
	bool writable;
};

/* What the driver remembers of a buffer that the device has. The device sees nothing of it. */
struct pending {
	void *token;
	/* Bytes that the device may write. */
	uint32_t writable;
	/* Descriptors that it takes in the ring. */
	uint16_t descriptors;
	/* In order: the buffer that was made available after it. Packed, for a free one: the next free one. */
	uint16_t next;
	bool with_device;
};

struct queue {
	/* Descriptor, driver and device area. */
	void *ring, *driver, *device;
	/* One for each buffer id; in a split ring the id is the number of the first descriptor. */
	struct pending *pending;
	/* Split ring: the descriptor that follows in the chain or in the list of free ones. */
	uint16_t *follows;
	/* Indirect tables, `segments` descriptors for each id. */
	void *tables;
	uint64_t doorbell;
	/* Of its device, for messages. */
	const char *name;
	uint16_t index, size, segments, allocated;
	bool packed, indirect, event, in_order;
	/* Every so many chains that could be indirect are not; 0: none. */
	uint16_t direct_every;

	/* Free descriptors, the first free one (split) or id (packed). */
	uint16_t free, free_head;
	/* Next to be made available, and next that will be used: counters (split) or places (packed). */
	uint16_t next_avail, next_used;
	/* Packed: the wrap counters. */
	bool avail_wrap, used_wrap;
	/* Split: what the device knows as available. Packed: descriptors made available since the last doorbell. */
	uint16_t published;
	/* In order: the ids of the oldest and the newest buffer with the device, and the last of a batch (-1: none). */
	uint16_t oldest, newest;
	int32_t batch_id;
	uint32_t batch_length;

	/* Buffers that the device has. */
	uint32_t with_device;
	/* Chains made, doorbells rung. */
	uint64_t chains, doorbells;
};

/* A used buffer. */
struct used {
	void *token;
	/* Bytes that the device says it wrote. */
	uint32_t length;
};

/* Makes the queue empty, with memory for `size` descriptors (split: the power of two below). */
void queue_start(struct queue *queue, uint32_t size, unsigned segments, uint64_t features);

/* Gives the device a buffer of `count` parts, at most `segments`; false if there is no room. */
bool queue_add(struct queue *queue, const struct segment *parts, unsigned count, void *token);

/* Rings the doorbell if the device wants to hear of what was added. */
void queue_kick(struct queue *queue);

/* Whether `queue_take` would find one. */
bool queue_has_used(const struct queue *queue);

/* Takes back a used buffer; false if there is none. An impossible one is reported and ends the guest. */
bool queue_take(struct queue *queue, struct used *used);

/* Asks for no interrupts; with event index an old request may still be met. */
void queue_quiet(struct queue *queue);

/* Asks for an interrupt by the next used buffer; true if there is one already, for which none may come. */
bool queue_listen(struct queue *queue);
