#include "features.h"
#include "words.h"

struct options options;

void options_read(bool interrupts) {
	static const char *const rings[] = {"split", "packed"};
	static const char *const triggers[] = {"edge", "level"};
	options = (struct options){
		.packed = parameter_choice("ring", rings, 2) == 1,
		.indirect = parameter_within("indirect", 1, 0, 1),
		.event = parameter_within("event", 1, 0, 1),
		.in_order = parameter_within("inorder", 0, 0, 1),
		.interrupts = parameter_within("irq", interrupts, 0, 1),
		.level = parameter_choice("trigger", triggers, 2) == 1,
		.queue_size = parameter_within("queue", 256, 2, 32768),
	};
}

uint64_t options_features(void) {
	return F_VERSION_1 | F_ACCESS_PLATFORM | F_ORDER_PLATFORM | (options.packed ? F_RING_PACKED : 0) |
		(options.indirect ? F_INDIRECT_DESC : 0) | (options.event ? F_EVENT_IDX : 0) |
		(options.in_order ? F_IN_ORDER : 0);
}
