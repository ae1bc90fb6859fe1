/* Split virtqueues (virtio 1.2, 2.7). */
#include "ring.h"
#include "print.h"

enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };

struct avail {
	uint16_t flags, index;
	/* `size` of them, then used_event. */
	uint16_t ring[];
};

struct used_element {
	uint32_t id, length;
};

struct used_ring {
	uint16_t flags, index;
	/* `size` of them, then avail_event. */
	struct used_element ring[];
};

static struct areas areas(uint32_t size) {
	return (struct areas){16 * size, 6 + 2 * size, 6 + 8 * size};
}

/* In order, descriptors are taken in the order of the table (2.7.9), and the list of free ones is always a ring. */
static void start(struct queue *queue) {
	for (uint32_t i = 0; i < queue->size; i++) queue->follows[i] = i + 1 == queue->size ? 0 : i + 1;
}

static void fill(void *table, const struct segment *parts, unsigned count) {
	struct split_descriptor *descriptors = table;
	for (unsigned i = 0; i < count; i++) {
		uint16_t flags = (parts[i].writable ? DESC_WRITE : 0) | (i + 1 < count ? DESC_NEXT : 0);
		descriptors[i] = (struct split_descriptor){parts[i].address, parts[i].length, flags, i + 1 < count ? i + 1 : 0};
	}
}

static void write(struct queue *queue, uint16_t id, const struct segment *parts, unsigned count, uint16_t flags) {
	struct split_descriptor *table = queue->ring;
	uint16_t at = id;
	for (unsigned i = 0; i < count; i++) {
		uint16_t own = flags | (parts[i].writable ? DESC_WRITE : 0) | (i + 1 < count ? DESC_NEXT : 0);
		table[at] = (struct split_descriptor){parts[i].address, parts[i].length, own, queue->follows[at]};
		at = queue->follows[at];
	}
	queue->free_head = at;
	struct avail *avail = queue->driver;
	avail->ring[queue->next_avail & (queue->size - 1)] = id;
	__atomic_store_n(&avail->index, ++queue->next_avail, __ATOMIC_RELEASE);
}

static bool wants_doorbell(struct queue *queue) {
	struct used_ring *used = queue->device;
	uint16_t before = queue->published;
	queue->published = queue->next_avail;
	if (!queue->event) {
		return queue->next_avail != before && (__atomic_load_n(&used->flags, __ATOMIC_RELAXED) & USED_NO_NOTIFY) == 0;
	}
	uint16_t *event = (uint16_t *)&used->ring[queue->size];
	return has_passed(__atomic_load_n(event, __ATOMIC_RELAXED), queue->next_avail, before);
}

static bool peek(const struct queue *queue, uint32_t *id, uint32_t *length) {
	struct used_ring *used = queue->device;
	uint16_t index = __atomic_load_n(&used->index, __ATOMIC_ACQUIRE);
	if (index == queue->next_used) return false;
	uint16_t ahead = index - queue->next_used;
	if (ahead > queue->with_device) {
		bad("%s queue %u: %u buffers used of %u", queue->name, queue->index, ahead, queue->with_device);
	}
	struct used_element *element = &used->ring[queue->next_used & (queue->size - 1)];
	*id = __atomic_load_n(&element->id, __ATOMIC_RELAXED);
	*length = __atomic_load_n(&element->length, __ATOMIC_RELAXED);
	return true;
}

static void release(struct queue *queue, uint16_t id) {
	uint16_t count = queue->pending[id].descriptors;
	queue->next_used++;
	queue->free += count;
	if (queue->in_order) return;
	uint16_t last = id;
	while (--count != 0) last = queue->follows[last];
	queue->follows[last] = queue->free_head;
	queue->free_head = id;
}

static void set_event(struct queue *queue, uint16_t position) {
	struct avail *avail = queue->driver;
	__atomic_store_n(&avail->ring[queue->size], position, __ATOMIC_RELAXED);
}

static void quiet(struct queue *queue) {
	struct avail *avail = queue->driver;
	if (queue->event) set_event(queue, queue->next_used - 1);
	else __atomic_store_n(&avail->flags, AVAIL_NO_INTERRUPT, __ATOMIC_RELAXED);
}

static void listen(struct queue *queue) {
	struct avail *avail = queue->driver;
	if (queue->event) set_event(queue, queue->next_used);
	else __atomic_store_n(&avail->flags, 0, __ATOMIC_RELAXED);
}

const struct layout split_layout = {areas, start, fill, write, wants_doorbell, peek, release, quiet, listen};
