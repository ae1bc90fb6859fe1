#include "queue.h"
#include "features.h"
#include "machine.h"
#include "memory.h"
#include "print.h"
#include "ring.h"

static const struct layout *layout_of(const struct queue *queue) {
	return queue->packed ? &packed_layout : &split_layout;
}

static void allocate(struct queue *queue, unsigned segments) {
	uint32_t size = queue->size;
	struct areas areas = layout_of(queue)->areas(size);
	if (size > queue->allocated || segments > queue->segments) {
		struct areas split = split_layout.areas(size), packed = packed_layout.areas(size);
		queue->ring = arena_take(split.ring > packed.ring ? split.ring : packed.ring, PAGE);
		queue->driver = arena_take(split.driver > packed.driver ? split.driver : packed.driver, 64);
		queue->device = arena_take(split.device > packed.device ? split.device : packed.device, 64);
		queue->pending = arena_take(size * sizeof *queue->pending, 64);
		queue->follows = arena_take(size * sizeof *queue->follows, 64);
		queue->tables = arena_take((size_t)size * segments * sizeof(struct split_descriptor), 64);
		queue->allocated = size;
		queue->segments = segments;
	}
	memset(queue->ring, 0, areas.ring);
	memset(queue->driver, 0, areas.driver);
	memset(queue->device, 0, areas.device);
	memset(queue->pending, 0, size * sizeof *queue->pending);
}

void queue_start(struct queue *queue, uint32_t size, unsigned segments, uint64_t features) {
	queue->packed = (features & F_RING_PACKED) != 0;
	queue->indirect = (features & F_INDIRECT_DESC) != 0;
	queue->event = (features & F_EVENT_IDX) != 0;
	queue->in_order = (features & F_IN_ORDER) != 0;
	if (!queue->packed) {
		while ((size & (size - 1)) != 0) size &= size - 1;
	}
	queue->size = size;
	allocate(queue, segments);
	queue->free = size;
	queue->free_head = 0;
	queue->next_avail = queue->next_used = queue->published = 0;
	queue->avail_wrap = queue->used_wrap = true;
	queue->batch_id = -1;
	queue->with_device = 0;
	layout_of(queue)->start(queue);
}

bool queue_add(struct queue *queue, const struct segment *parts, unsigned count, void *token) {
	bool as_table = queue->indirect && count > 1;
	if (as_table && queue->direct_every != 0) as_table = queue->chains % queue->direct_every != 0;
	if (count > queue->segments || (as_table ? 1 : count) > queue->free) return false;
	uint16_t id = queue->free_head;
	struct pending *pending = &queue->pending[id];
	pending->token = token;
	pending->with_device = true;
	pending->writable = 0;
	for (unsigned i = 0; i < count; i++) {
		if (parts[i].writable) pending->writable += parts[i].length;
	}
	if (queue->with_device++ == 0) queue->oldest = id;
	uint16_t before = queue->newest;
	queue->newest = id;

	const struct layout *layout = layout_of(queue);
	struct segment whole;
	if (as_table) {
		char *table = (char *)queue->tables + (size_t)id * queue->segments * sizeof(struct split_descriptor);
		layout->fill(table, parts, count);
		whole = (struct segment){(uintptr_t)table, count * sizeof(struct split_descriptor), false};
		parts = &whole;
		count = 1;
	}
	pending->descriptors = count;
	queue->free -= count;
	layout->write(queue, id, parts, count, as_table ? DESC_INDIRECT : 0);
	if (queue->in_order && queue->with_device > 1) queue->pending[before].next = id;
	queue->chains++;
	return true;
}

void queue_kick(struct queue *queue) {
	fence();
	if (!layout_of(queue)->wants_doorbell(queue)) return;
	write32(queue->doorbell, queue->index);
	queue->doorbells++;
}

/* In order, a device may tell only of the last of several buffers (virtio 1.2, 2.7.9 and 2.8.8). What it wrote into the
 * others it does not say: they count as full. Gives the buffer that comes next, and its length. */
static uint16_t next_in_order(struct queue *queue, uint32_t *length) {
	uint16_t id = queue->oldest;
	struct pending *pending = &queue->pending[id];
	if (id == queue->batch_id) {
		*length = queue->batch_length;
		queue->batch_id = -1;
	} else {
		*length = pending->writable;
	}
	queue->oldest = pending->next;
	return id;
}

bool queue_take(struct queue *queue, struct used *used) {
	const struct layout *layout = layout_of(queue);
	uint32_t id = 0, length = 0;
	if (queue->batch_id < 0) {
		if (!layout->peek(queue, &id, &length)) return false;
		if (id >= queue->size || !queue->pending[id].with_device) {
			bad("%s queue %u: used buffer %u is none that the device has", queue->name, queue->index, id);
		}
		queue->batch_id = id;
		queue->batch_length = length;
	}
	if (queue->in_order) id = next_in_order(queue, &length);
	else queue->batch_id = -1;
	struct pending *pending = &queue->pending[id];
	if (length > pending->writable) {
		bad("%s queue %u: %u bytes used of %u", queue->name, queue->index, length, pending->writable);
	}
	*used = (struct used){pending->token, length};
	pending->with_device = false;
	queue->with_device--;
	layout->release(queue, id);
	return true;
}

void queue_quiet(struct queue *queue) {
	layout_of(queue)->quiet(queue);
}

bool queue_has_used(const struct queue *queue) {
	uint32_t id, length;
	return queue->batch_id >= 0 || layout_of(queue)->peek(queue, &id, &length);
}

bool queue_listen(struct queue *queue) {
	layout_of(queue)->listen(queue);
	fence();
	return queue_has_used(queue);
}
