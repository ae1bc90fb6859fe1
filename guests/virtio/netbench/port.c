#include "port.h"
#include "interrupts.h"
#include "machine.h"
#include "memory.h"
#include "print.h"
#include <stddef.h>

struct port port;

static void give(uint8_t *buffer) {
	struct segment part = {(uintptr_t)buffer, RECEIVE_BYTES, true};
	if (!queue_add(&port.receive, &part, 1, buffer)) bad("net receive queue is full");
}

void port_start(bool gso, unsigned depth) {
	unsigned slot = 0;
	do {
		if (!device_find(&port.device, &slot)) {
			print("no network device\n");
			end(EXIT_ARGUMENT);
		}
	} while (port.device.id != ID_NET);
	uint64_t offload = NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_HOST_TSO4;
	uint64_t wanted = NET_F_MAC | NET_F_MRG_RXBUF | (gso ? offload : 0);
	if (!device_negotiate(&port.device, wanted)) bad("net refuses its own features");
	if (gso && !(device_has(&port.device, NET_F_HOST_TSO4) && device_has(&port.device, NET_F_MRG_RXBUF))) {
		print("the network device offers no TSO with merged buffers\n");
		end(EXIT_ARGUMENT);
	}
	if (!device_queue(&port.device, NET_RX, &port.receive, 1)) bad("net has no receive queue");
	if (!device_queue(&port.device, NET_TX, &port.send, 2)) bad("net has no send queue");
	static const uint8_t local[6] = {0x02, 0xba, 0x70, 0x6e, 0x62, 0x01};
	memcpy(port.mac, local, 6);
	for (unsigned i = 0; i < 6 && device_has(&port.device, NET_F_MAC); i++) port.mac[i] = config8(&port.device, i);
	unsigned room = port.send.indirect ? port.send.size : port.send.size / 2;
	port.depth = depth < room ? depth : room;
	for (unsigned i = 0; i < RECEIVES && port.receive.free != 0; i++) give(arena_take(RECEIVE_BYTES, RECEIVE_BYTES));
	device_ready(&port.device);
	device_print(&port.device, &port.receive);
	if (options.interrupts) {
		interrupts_start(options.level);
	} else {
		queue_quiet(&port.receive);
		queue_quiet(&port.send);
	}
	port_kick();
}

struct sending *port_place(void) {
	for (unsigned i = 0; i < port.depth; i++) {
		if (!port.sends[i].busy) return &port.sends[i];
	}
	return NULL;
}

void port_send(struct sending *sending) {
	struct segment parts[] = {
		{(uintptr_t)&sending->header, NET_HEADER, false}, {(uintptr_t)sending->frame, sending->bytes, false},
	};
	sending->busy = true;
	if (!queue_add(&port.send, parts, 2, sending)) bad("net send queue is full");
}

void port_kick(void) {
	queue_kick(&port.receive);
	queue_kick(&port.send);
}

unsigned port_sending(void) {
	struct used used;
	while (queue_take(&port.send, &used)) {
		struct sending *sending = used.token;
		sending->busy = false;
		if (sending->buffer != NULL) give(sending->buffer);
		sending->buffer = NULL;
	}
	return port.send.with_device;
}

bool port_receive(struct incoming *incoming) {
	struct used used;
	if (!queue_take(&port.receive, &used)) return false;
	if (used.length < NET_HEADER) bad("net gave %u bytes, less than a header", used.length);
	uint8_t *first = used.token;
	bool merged = device_has(&port.device, NET_F_MRG_RXBUF);
	*incoming = (struct incoming){.frame = first + NET_HEADER, .bytes = used.length - NET_HEADER};
	incoming->buffers = merged ? ((struct net_header *)first)->buffers : 1;
	if (incoming->buffers == 0 || incoming->buffers > MERGED_MOST) bad("net merged %u buffers", incoming->buffers);
	incoming->tokens[0] = first;
	for (uint32_t i = 1; i < incoming->buffers; i++) {
		/* They become used together (virtio 1.2, 5.1.6.4). */
		if (!queue_take(&port.receive, &used)) bad("net says %u buffers and gave %u", incoming->buffers, i);
		incoming->tokens[i] = used.token;
		incoming->bytes += used.length;
	}
	return true;
}

bool port_pending(void) {
	return queue_has_used(&port.receive);
}

void port_give_all(const struct incoming *incoming) {
	for (uint32_t i = 0; i < incoming->buffers; i++) give(incoming->tokens[i]);
}

void port_wait(void) {
	if (!options.interrupts) {
		relax();
		return;
	}
	interrupts_begin();
	bool more = queue_listen(&port.receive);
	more |= queue_listen(&port.send);
	if (!more) interrupts_wait();
	queue_quiet(&port.receive);
	queue_quiet(&port.send);
}
