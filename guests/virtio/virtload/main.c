/* virtload: drives all virtio devices at once, by interrupts, and checks what they do. See guests/README.md. */
#include "interrupts.h"
#include "load.h"
#include "machine.h"
#include "memory.h"
#include "print.h"
#include "words.h"
#include <stddef.h>

#define COM1 0x3f8
#define COM1_LINE_STATUS 0x3fd
#define DATA_READY 1

static const struct driver *const drivers[] = {
	&blk_driver, &net_driver, &console_driver, &rng_driver, &balloon_driver, &vsock_driver,
};

static struct load loads[SLOTS];
static unsigned count, stalls;
static uint64_t burst, stall_cycles, print_cycles, spoil_ticks, rounds;
uint64_t load_clock;
bool load_stopping;

bool load_begins(struct load *load) {
	if (load_stopping || load->budget == 0) return false;
	load->budget--;
	return true;
}

void load_ended(struct load *load) {
	load->done++;
	load->moved = load_clock;
}

void load_moved(struct load *load) {
	load->moved = load_clock;
}

void load_negotiate(struct load *load, uint64_t wanted) {
	if (!device_negotiate(&load->device, wanted)) bad("%s refuses its own features", load->name);
}

void load_queue(struct load *load, unsigned index, struct queue *queue, unsigned segments) {
	queue->direct_every = 4;
	if (!device_queue(&load->device, index, queue, segments)) bad("%s has no queue %u", load->name, index);
	for (unsigned i = 0; i < load->queue_count; i++) {
		if (load->queues[i] == queue) return;
	}
	load->queues[load->queue_count++] = queue;
}

void *load_state(struct load *load, unsigned long size) {
	if (load->state == NULL) load->state = arena_take(size, 64);
	return load->state;
}

static void find_loads(void) {
	unsigned slot = 0;
	struct device device;
	while (device_find(&device, &slot)) {
		const struct driver *driver = NULL;
		unsigned same = 0;
		for (unsigned i = 0; i < sizeof drivers / sizeof *drivers; i++) {
			if (drivers[i]->id == device.id) driver = drivers[i];
		}
		if (driver == NULL) continue;
		for (unsigned i = 0; i < count; i++) same += loads[i].device.id == device.id;
		struct load *load = &loads[count++];
		*load = (struct load){.device = device, .driver = driver};
		char *end = load->name;
		for (const char *text = device_name(device.id); *text != 0; text++) *end++ = *text;
		if (same >= 10) *end++ = '0' + same / 10;
		if (same >= 1) *end++ = '0' + same % 10;
	}
	if (count == 0) {
		print("no virtio devices\n");
		end(EXIT_ARGUMENT);
	}
}

static void start_again(struct load *load) {
	print("RESET %s\n", load->name);
	load->resets++;
	load_moved(load);
	load->driver->start(load);
}

static void serve(struct load *load, uint32_t pending) {
	if ((pending & INTERRUPT_CONFIG) != 0) {
		if ((device_status(&load->device) & STATUS_NEEDS_RESET) != 0) {
			start_again(load);
			return;
		}
		if (load->driver->config != NULL) load->driver->config(load);
	}
	if ((pending & INTERRUPT_USED) != 0) load->driver->serve(load);
}

static void watch(struct load *load) {
	if (!load->driver->waits(load)) load_moved(load);
	if (load_clock - load->moved < stall_cycles) return;
	uint32_t status = device_status(&load->device);
	print("STALL %s status=0x%x interrupt=0x%x", load->name, status, read32(load->device.base + REG_INTERRUPT_STATUS));
	for (unsigned i = 0; i < load->queue_count; i++) {
		struct queue *queue = load->queues[i];
		print(" %u:%u%s", queue->index, queue->with_device, queue_has_used(queue) ? "+" : "");
	}
	print("\n");
	stalls++;
	load_moved(load);
	if ((status & STATUS_NEEDS_RESET) != 0) start_again(load);
}

/* Gives the device a chain that no driver may make: what it writes stands before what it reads, and that is nowhere. */
static void spoil(struct load *load) {
	static uint64_t writable;
	struct segment parts[] = {{(uintptr_t)&writable, sizeof writable, true}, {-8192ul, 16384, false}};
	struct queue *queue = load->queues[0];
	if (queue->segments < 2 || !queue_add(queue, parts, 2, NULL)) return;
	queue_kick(queue);
}

static void tick(void) {
	if ((in8(COM1_LINE_STATUS) & DATA_READY) != 0 && in8(COM1) == 'q') load_stopping = true;
	static uint64_t ticks;
	if (spoil_ticks != 0 && ++ticks % spoil_ticks == 0) spoil(&loads[ticks / spoil_ticks % count]);
	bool all = rounds != 0;
	for (unsigned i = 0; i < count; i++) {
		loads[i].budget = burst;
		loads[i].driver->tick(&loads[i]);
		watch(&loads[i]);
		if (loads[i].driver->counted && loads[i].done < rounds) all = false;
	}
	if (all) load_stopping = true;
	static uint64_t printed;
	if (load_clock - printed < print_cycles) return;
	printed = load_clock;
	print("t");
	for (unsigned i = 0; i < count; i++) print(" %s=%lu", loads[i].name, loads[i].done);
	print("\n");
}

/* A device that stalls while the rest comes to its end must not hold the guest for ever. */
static bool has_ended(void) {
	if (!load_stopping) return false;
	for (unsigned i = 0; i < count; i++) {
		if (stalls == 0 && loads[i].driver->waits(&loads[i])) return false;
	}
	return true;
}

static void run(void) {
	uint64_t last = tsc(), ticks = 0;
	while (!has_ended()) {
		interrupts_begin();
		uint64_t now = tsc();
		load_clock += now - last < CLOCK_STEP ? now - last : CLOCK_STEP;
		last = now;
		for (unsigned i = 0; i < count; i++) {
			uint32_t pending = interrupts_pending_of(loads[i].device.slot);
			if (pending != 0) serve(&loads[i], pending);
		}
		if (ticks != interrupts_ticks) {
			ticks = interrupts_ticks;
			tick();
		}
		interrupts_wait();
	}
}

int main(void) {
	options_read(true);
	options.interrupts = true;
	burst = parameter_within("burst", 0, 0, -1ul >> 1);
	if (burst == 0) burst = -1ul;
	stall_cycles = parameter("stall", 20000000000ul);
	print_cycles = parameter("print", 3000000000ul);
	spoil_ticks = parameter("spoil", 0);
	rounds = parameter("rounds", 0);
	interrupts_start(options.level);
	find_loads();
	for (unsigned i = 0; i < count; i++) {
		loads[i].budget = burst;
		loads[i].driver->start(&loads[i]);
	}
	interrupts_timer(TICKS);
	print("virtload\n");
	run();

	uint64_t resets = 0;
	for (unsigned i = 0; i < count; i++) resets += loads[i].resets;
	print("virtload:");
	for (unsigned i = 0; i < count; i++) print(" %s=%lu", loads[i].name, loads[i].done);
	for (unsigned i = 0; i < count; i++) {
		if (loads[i].driver->summary != NULL) loads[i].driver->summary(&loads[i]);
	}
	print(" interrupts=%lu resets=%lu stalls=%u\n", interrupts_taken, resets, stalls);
	return stalls == 0 ? EXIT_OK : EXIT_BAD;
}
