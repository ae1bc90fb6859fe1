/* Packed virtqueues (virtio 1.2, 2.8). */
#include "ring.h"

/* Event suppression (2.8.14). */
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESCRIPTOR = 2 };
#define WRAP 0x8000

struct suppression {
	/* Place in the ring, and WRAP for the wrap counter. */
	uint16_t place, flags;
};

static struct areas areas(uint32_t size) {
	return (struct areas){16 * size, 4, 4};
}

static void start(struct queue *queue) {
	for (uint32_t i = 0; i < queue->size; i++) queue->pending[i].next = i + 1;
}

/* Of the flags in a table only DESC_WRITE has a meaning (2.8.19). */
static void fill(void *table, const struct segment *parts, unsigned count) {
	struct packed_descriptor *descriptors = table;
	for (unsigned i = 0; i < count; i++) {
		uint16_t flags = parts[i].writable ? DESC_WRITE : 0;
		descriptors[i] = (struct packed_descriptor){parts[i].address, parts[i].length, 0, flags};
	}
}

static void write(struct queue *queue, uint16_t id, const struct segment *parts, unsigned count, uint16_t flags) {
	struct packed_descriptor *ring = queue->ring;
	uint16_t first = queue->next_avail, first_flags = 0;
	queue->free_head = queue->pending[id].next;
	for (unsigned i = 0; i < count; i++) {
		uint16_t at = queue->next_avail;
		uint16_t own = flags | (parts[i].writable ? DESC_WRITE : 0) | (i + 1 < count ? DESC_NEXT : 0);
		own |= queue->avail_wrap ? DESC_AVAIL : DESC_USED;
		ring[at].address = parts[i].address;
		ring[at].length = parts[i].length;
		ring[at].id = id;
		if (i == 0) first_flags = own;
		else ring[at].flags = own;
		if (++queue->next_avail == queue->size) {
			queue->next_avail = 0;
			queue->avail_wrap = !queue->avail_wrap;
		}
	}
	queue->published += count;
	/* The first one makes all of them available (2.8.6). */
	__atomic_store_n(&ring[first].flags, first_flags, __ATOMIC_RELEASE);
}

static bool wants_doorbell(struct queue *queue) {
	struct suppression *device = queue->device;
	uint16_t added = queue->published;
	queue->published = 0;
	uint16_t flags = __atomic_load_n(&device->flags, __ATOMIC_ACQUIRE) & 3;
	if (added == 0 || flags == EVENT_DISABLE) return false;
	if (!queue->event || flags != EVENT_DESCRIPTOR) return true;
	uint16_t event = __atomic_load_n(&device->place, __ATOMIC_RELAXED);
	uint16_t place = event & ~WRAP;
	if (((event & WRAP) != 0) != queue->avail_wrap) place -= queue->size;
	return has_passed(place, queue->next_avail, queue->next_avail - added);
}

static bool peek(const struct queue *queue, uint32_t *id, uint32_t *length) {
	struct packed_descriptor *next = (struct packed_descriptor *)queue->ring + queue->next_used;
	uint16_t flags = __atomic_load_n(&next->flags, __ATOMIC_ACQUIRE);
	bool avail = (flags & DESC_AVAIL) != 0, used = (flags & DESC_USED) != 0;
	if (avail != used || used != queue->used_wrap) return false;
	*id = __atomic_load_n(&next->id, __ATOMIC_RELAXED);
	*length = __atomic_load_n(&next->length, __ATOMIC_RELAXED);
	return true;
}

static void release(struct queue *queue, uint16_t id) {
	uint16_t count = queue->pending[id].descriptors;
	queue->free += count;
	queue->next_used += count;
	if (queue->next_used >= queue->size) {
		queue->next_used -= queue->size;
		queue->used_wrap = !queue->used_wrap;
	}
	queue->pending[id].next = queue->free_head;
	queue->free_head = id;
}

static void quiet(struct queue *queue) {
	struct suppression *driver = queue->driver;
	__atomic_store_n(&driver->flags, EVENT_DISABLE, __ATOMIC_RELAXED);
}

static void listen(struct queue *queue) {
	struct suppression *driver = queue->driver;
	if (queue->event) {
		/* The place must be seen no later than the flags that tell of it. */
		__atomic_store_n(&driver->place, queue->next_used | (queue->used_wrap ? WRAP : 0), __ATOMIC_RELEASE);
		__atomic_store_n(&driver->flags, EVENT_DESCRIPTOR, __ATOMIC_RELEASE);
	} else {
		__atomic_store_n(&driver->flags, EVENT_ENABLE, __ATOMIC_RELEASE);
	}
}

const struct layout packed_layout = {areas, start, fill, write, wants_doorbell, peek, release, quiet, listen};
