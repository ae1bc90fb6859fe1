#include "print.h"
#include "random.h"
#include "vsock.h"
#include <stddef.h>

/* The guest's stream runs ahead of what came back by so much at most. */
#define AHEAD 0x20000ul

static struct vsock_send *free_send(struct vsock *vsock) {
	for (unsigned i = 0; i < SENDS && vsock->send.free >= 2; i++) {
		if (!vsock->sends[i].busy) return &vsock->sends[i];
	}
	return NULL;
}

static void post(struct load *load, struct vsock_send *send) {
	struct vsock *vsock = load->state;
	struct segment parts[] = {
		{(uintptr_t)&send->packet, sizeof send->packet, false}, {(uintptr_t)send->payload, send->packet.length, false},
	};
	if (!queue_add(&vsock->send, parts, send->packet.length != 0 ? 2 : 1, send)) bad("%s queue is full", load->name);
	send->busy = true;
}

static void send_packet(struct load *load, struct connection *connection, struct vsock_send *send, uint16_t operation,
	uint32_t length) {
	struct vsock *vsock = load->state;
	send->packet = (struct packet){
		.from_cid = vsock->cid,
		.to_cid = HOST_CID,
		.from_port = connection->own_port,
		.to_port = connection->peer_port,
		.length = length,
		.type = TYPE_STREAM,
		.operation = operation,
		.flags = operation == OP_SHUTDOWN ? connection->own_shutdown : 0,
		.buffer = BUFFER,
		.forwarded = connection->forwarded,
	};
	connection->told = connection->forwarded;
	connection->sent += length;
	post(load, send);
}

/* How many bytes the connection has to send. */
static uint64_t ready(const struct vsock *vsock, const struct connection *connection) {
	if (connection->state != OPEN || (connection->peer_shutdown & SHUTDOWN_RECEIVE) != 0) return 0;
	if (!is_client(vsock, connection)) return connection->received - connection->forwarded;
	if (load_stopping || connection->own_shutdown != 0 || connection->out - connection->back >= AHEAD) return 0;
	return vsock->bytes == 0 ? PAYLOAD : vsock->bytes - connection->out;
}

static void fill(struct vsock *vsock, struct connection *connection, uint8_t *payload, uint32_t length) {
	for (uint32_t i = 0; i < length; i++) {
		if (is_client(vsock, connection)) payload[i] = stream_byte(connection->out++);
		else payload[i] = connection->buffer[connection->forwarded++ % BUFFER];
	}
}

/* False if the connection has nothing to send now. */
static bool send_data(struct load *load, struct connection *connection, struct vsock_send *send) {
	struct vsock *vsock = load->state;
	uint64_t bytes = ready(vsock, connection);
	uint32_t credit = connection->peer_buffer - (connection->sent - connection->peer_forwarded);
	if (bytes == 0) return false;
	if (credit == 0) {
		if (connection->asked) return false;
		connection->asked = true;
		send_packet(load, connection, send, OP_CREDIT_REQUEST, 0);
		return true;
	}
	if (is_client(vsock, connection) && !load_begins(load)) return false;
	uint32_t length = 1 + random_below(&vsock->random, PAYLOAD);
	if (length > bytes) length = bytes;
	if (length > credit) length = credit;
	fill(vsock, connection, send->payload, length);
	send_packet(load, connection, send, OP_RW, length);
	return true;
}

/* All is sent, and the other side knows that no more comes, or is told. */
static void shut_down(struct vsock *vsock, struct connection *connection) {
	uint32_t wanted = 0;
	if (connection->state != OPEN) return;
	if (is_client(vsock, connection)) {
		if (vsock->bytes != 0 && connection->out == vsock->bytes) wanted = SHUTDOWN_SEND;
	} else if ((connection->peer_shutdown & SHUTDOWN_SEND) != 0 && connection->received == connection->forwarded) {
		wanted = SHUTDOWN_BOTH;
	}
	if ((wanted & ~connection->own_shutdown) == 0) return;
	connection->own_shutdown |= wanted;
	connection->owed |= 1 << OP_SHUTDOWN;
	if (wanted != SHUTDOWN_BOTH) return;
	connection->state = CLOSING;
	connection->since = load_clock;
}

static bool send_one(struct load *load, struct connection *connection, struct vsock_send *send) {
	struct vsock *vsock = load->state;
	if (connection->state == CLOSED) return false;
	if (connection->forwarded - connection->told >= BUFFER / 2) connection->owed |= 1 << OP_CREDIT_UPDATE;
	shut_down(vsock, connection);
	if (connection->owed == 0) return send_data(load, connection, send);
	uint16_t operation = __builtin_ctz(connection->owed);
	connection->owed &= ~(1u << operation);
	send_packet(load, connection, send, operation, 0);
	if (operation == OP_RST) connection_end(vsock, connection, false);
	return true;
}

void vsock_pump(struct load *load) {
	struct vsock *vsock = load->state;
	struct vsock_send *send;
	while (vsock->stray_count != 0 && (send = free_send(vsock)) != NULL) {
		struct stray *stray = &vsock->strays[--vsock->stray_count];
		struct connection none = {.own_port = stray->own_port, .peer_port = stray->peer_port};
		send_packet(load, &none, send, OP_RST, 0);
	}
	for (bool any = true; any;) {
		any = false;
		for (unsigned i = 0; i < CONNECTIONS; i++) {
			if ((send = free_send(vsock)) != NULL && send_one(load, &vsock->connections[i], send)) any = true;
		}
	}
	queue_kick(&vsock->send);
}
