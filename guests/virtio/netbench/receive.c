#include "frame.h"
#include "machine.h"
#include "port.h"
#include "print.h"
#include "role.h"
#include <stddef.h>

enum verdict { OTHER, COUNTED, STOP };

static enum verdict count(const struct parameters *parameters, struct result *result, const struct incoming *incoming) {
	static uint64_t next;
	bool segment;
	const struct bench *bench = frame_read(incoming->frame, incoming->bytes, parameters->gso, &segment);
	if (bench == NULL && !segment) return OTHER;
	/* A stop before the first frame is one of the run before. */
	if (bench != NULL && bench->kind == KIND_STOP) return result->packets == 0 ? OTHER : STOP;
	result->last = tsc();
	if (result->packets++ == 0) result->first = result->last;
	result->bytes += incoming->bytes;
	if (segment) return COUNTED;
	if (bench->sequence > next) result->lost += bench->sequence - next;
	if (bench->sequence < next) result->disorder++;
	else next = bench->sequence + 1;
	return COUNTED;
}

/* The frame goes back out of the buffer that it came in. */
static void turn(const struct incoming *incoming) {
	if (incoming->buffers != 1) bad("net merged %u buffers for a frame that fits into one", incoming->buffers);
	struct sending *sending = port_place();
	if (sending == NULL) bad("net keeps what it has sent");
	sending->frame = incoming->frame;
	sending->bytes = incoming->bytes;
	sending->buffer = incoming->tokens[0];
	frame_offload(&sending->header, false);
	frame_turn(incoming->frame, port.mac);
	port_send(sending);
}

void role_receive(const struct parameters *parameters, struct result *result, bool echo) {
	struct incoming incoming;
	enum verdict verdict = OTHER;
	uint64_t since = tsc();
	while (verdict != STOP && (parameters->packets == 0 || result->packets < parameters->packets)) {
		if (port_sending() < port.depth && port_receive(&incoming)) {
			verdict = count(parameters, result, &incoming);
			if (echo && verdict == COUNTED) turn(&incoming);
			else port_give_all(&incoming);
			since = tsc();
			if (!port_pending()) port_kick();
			continue;
		}
		port_kick();
		/* All stop frames may be lost. */
		if (result->packets != 0 && tsc() - since > parameters->idle) {
			result->errors++;
			break;
		}
		port_wait();
	}
	port_kick();
	while (port_sending() != 0) port_wait();
}
