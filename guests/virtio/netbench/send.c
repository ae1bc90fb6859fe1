#include "frame.h"
#include "machine.h"
#include "memory.h"
#include "port.h"
#include "print.h"
#include "role.h"
#include <stddef.h>

/* Stop frames at the end of a run: some may be lost. */
#define STOPS 8

/* Fills a frame for each place. */
static void fill_places(const struct parameters *parameters) {
	for (unsigned i = 0; i < port.depth; i++) {
		struct sending *sending = &port.sends[i];
		sending->frame = arena_take(parameters->size, 64);
		sending->bytes = parameters->size;
		frame_fill(sending->frame, parameters->size, port.mac, parameters->gso);
		frame_offload(&sending->header, parameters->gso);
	}
}

static void drop_incoming(void) {
	struct incoming incoming;
	while (port_receive(&incoming)) port_give_all(&incoming);
}

static void send_stops(void) {
	static uint8_t frame[FRAME_LEAST];
	frame_fill(frame, sizeof frame, port.mac, false);
	frame_number(frame, false, KIND_STOP, 0);
	for (unsigned sent = 0; sent < STOPS; sent++) {
		struct sending *sending = port_place();
		sending->frame = frame;
		sending->bytes = sizeof frame;
		frame_offload(&sending->header, false);
		port_send(sending);
		port_kick();
		while (port_sending() != 0) port_wait();
	}
}

void role_send(const struct parameters *parameters, struct result *result) {
	fill_places(parameters);
	result->first = tsc();
	uint64_t sent = 0;
	for (;;) {
		unsigned before = port.send.with_device, flying = port_sending();
		bool any = flying != before;
		struct sending *sending;
		while (sent < parameters->packets && (sending = port_place()) != NULL) {
			frame_number(sending->frame, parameters->gso, KIND_DATA, sent++);
			port_send(sending);
			any = true;
		}
		drop_incoming();
		port_kick();
		if (sent == parameters->packets && flying == 0) break;
		if (!any) port_wait();
	}
	result->last = tsc();
	result->packets = sent;
	result->bytes = sent * parameters->size;
	send_stops();
}

/* Waits for the frame's echo; false if it does not come. */
static bool comes_back(const struct parameters *parameters, uint64_t sequence, uint64_t since) {
	struct incoming incoming;
	do {
		if (!port_receive(&incoming)) {
			port_wait();
			continue;
		}
		bool segment;
		const struct bench *bench = frame_read(incoming.frame, incoming.bytes, false, &segment);
		bool found = bench != NULL && bench->sequence == sequence && incoming.bytes == parameters->size;
		port_give_all(&incoming);
		port_kick();
		if (found) return true;
	} while (tsc() - since < parameters->idle);
	return false;
}

void role_pingpong(const struct parameters *parameters, struct result *result) {
	fill_places(parameters);
	result->first = tsc();
	for (uint64_t sequence = 0; sequence < parameters->packets; sequence++) {
		while (port_sending() != 0) port_wait();
		struct sending *sending = port_place();
		frame_number(sending->frame, false, KIND_DATA, sequence);
		uint64_t sent = tsc();
		port_send(sending);
		port_kick();
		if (!comes_back(parameters, sequence, sent)) {
			result->errors++;
			continue;
		}
		result->last = tsc();
		uint64_t trip = result->last - sent;
		if (result->packets == 0 || trip < result->shortest) result->shortest = trip;
		if (trip > result->longest) result->longest = trip;
		result->packets++;
		result->bytes += parameters->size;
	}
	while (port_sending() != 0) port_wait();
	send_stops();
}
