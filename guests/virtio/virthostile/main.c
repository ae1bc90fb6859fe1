/* virthostile: breaks every rule of virtio, and checks that the devices survive it. See guests/README.md. */
#include "interrupts.h"
#include "machine.h"
#include "numbers.h"
#include "print.h"
#include "words.h"

/* Attacks between two looks at the devices, and looks between two valid requests to each. */
#define BATCH 64
#define LOOKS 16

static struct target targets[SLOTS];
static unsigned count;
static uint64_t patience, resets, dead;

static void find_targets(void) {
	uint64_t wanted = parameter("device", SLOTS);
	unsigned slot = 0, index = 0;
	struct device device;
	while (device_find(&device, &slot)) {
		if (wanted != SLOTS && wanted != index++) continue;
		unsigned same = 0;
		for (unsigned i = 0; i < count; i++) same += targets[i].device.id == device.id;
		struct target *target = &targets[count++];
		target->device = device;
		char *end = target->name;
		for (const char *text = device_name(device.id); *text != 0; text++) *end++ = *text;
		if (same != 0) *end++ = '0' + same % 10;
		numbers_add_device(device.base);
	}
	if (count == 0) {
		print("no such virtio device\n");
		end(EXIT_ARGUMENT);
	}
}

static void check(struct target *target) {
	if (probe(target, patience)) {
		target->answers++;
		return;
	}
	print("DEAD %s status=0x%x\n", target->name, device_status(&target->device));
	dead++;
}

static void attack(struct target *target) {
	switch (any_below(16)) {
	case 0: attack_wild_setup(target); break;
	case 1:
	case 2:
	case 3: attack_registers(target); break;
	case 4:
		/* In the middle of all, and without waiting. */
		if (!once_in(4)) break;
		write32(target->device.base + REG_STATUS, 0);
		target->set_up = false;
		resets++;
		break;
	default: attack_rings(target); break;
	}
}

static void look(struct target *target) {
	if ((device_status(&target->device) & STATUS_NEEDS_RESET) == 0) return;
	target->needs_reset++;
	resets++;
	device_reset(&target->device);
	target->set_up = false;
}

int main(void) {
	options_read(false);
	options.interrupts = false;
	uint64_t seed = parameter_within("seed", 1, 1, -1ul), steps = parameter("steps", 10000);
	uint64_t progress = parameter("print", 100000);
	patience = parameter("patience", 20000000000ul);
	numbers_start(seed, parameter_within("mmio", 0, 0, 1));
	find_targets();
	print("virthostile seed=%lu steps=%lu devices=%u\n", seed, steps, count);
	for (unsigned i = 0; i < count; i++) check(&targets[i]);
	for (uint64_t step = 1; step <= steps && dead == 0; step++) {
		attack(&targets[any_below(count)]);
		for (unsigned i = 0; i < count && step % BATCH == 0; i++) look(&targets[i]);
		for (unsigned i = 0; i < count && step % (BATCH * LOOKS) == 0; i++) check(&targets[i]);
		if (progress != 0 && step % progress == 0) print("h %lu\n", step);
	}
	uint64_t needed = 0;
	for (unsigned i = 0; i < count; i++) {
		uint64_t before = targets[i].answers;
		check(&targets[i]);
		if (targets[i].answers != before) print("ALIVE %s needs_reset=%lu\n", targets[i].name, targets[i].needs_reset);
		needed += targets[i].needs_reset;
	}
	numbers_check();
	print("virthostile: steps=%lu resets=%lu needs_reset=%lu dead=%lu\n", steps, resets, needed, dead);
	return dead == 0 ? EXIT_OK : EXIT_BAD;
}
