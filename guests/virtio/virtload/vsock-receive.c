#include "print.h"
#include "vsock.h"
#include <stddef.h>

/* Time stamps before the guest connects again after a failure. */
#define AGAIN 2000000000ul

void connection_end(struct vsock *vsock, struct connection *connection, bool reset) {
	if (reset) {
		vsock->resets++;
		if (is_client(vsock, connection)) vsock->again_at = load_clock + AGAIN;
	}
	connection->state = CLOSED;
	connection->owed = 0;
}

static struct connection *find(struct vsock *vsock, const struct packet *packet) {
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &vsock->connections[i];
		if (connection->state == CLOSED || connection->own_port != packet->to_port) continue;
		if (connection->peer_port == packet->from_port) return connection;
	}
	return NULL;
}

static void read_credit(struct connection *connection, const struct packet *packet) {
	connection->peer_buffer = packet->buffer;
	connection->peer_forwarded = packet->forwarded;
	connection->asked = false;
}

static bool accept(struct vsock *vsock, const struct packet *packet) {
	if (packet->operation != OP_REQUEST || packet->to_port != ECHO_PORT || load_stopping) return false;
	for (unsigned i = 1; i < CONNECTIONS; i++) {
		struct connection *connection = &vsock->connections[i];
		if (connection->state != CLOSED) continue;
		__builtin_memset(connection, 0, offsetof(struct connection, buffer));
		connection->state = OPEN;
		connection->own_port = packet->to_port;
		connection->peer_port = packet->from_port;
		connection->owed = 1 << OP_RESPONSE;
		read_credit(connection, packet);
		return true;
	}
	return false;
}

static void take_data(struct load *load, struct connection *connection, const uint8_t *payload, uint32_t length) {
	struct vsock *vsock = load->state;
	if (connection->received + length - connection->forwarded > BUFFER) bad("%s sent beyond its credit", load->name);
	for (uint32_t i = 0; i < length; i++) {
		if (!is_client(vsock, connection)) {
			connection->buffer[(connection->received + i) % BUFFER] = payload[i];
			continue;
		}
		uint8_t expected = stream_byte(connection->back);
		if (connection->back == connection->out) bad("%s byte %lu was never sent", load->name, connection->back);
		if (payload[i] != expected) {
			bad("%s byte %lu came back as 0x%x, not 0x%x", load->name, connection->back, payload[i], expected);
		}
		connection->back++;
		if (connection->back == vsock->bytes) vsock->streams++;
	}
	connection->received += length;
	if (is_client(vsock, connection)) connection->forwarded = connection->received;
	load_ended(load);
}

/* The peer may break a connection off, but what it ends in order must be whole. */
static void finish(struct load *load, struct connection *connection, bool in_order) {
	struct vsock *vsock = load->state;
	bool whole = is_client(vsock, connection) && connection->back == vsock->bytes;
	if (is_client(vsock, connection) && connection->state == OPEN && in_order && !whole && !load_stopping) {
		bad("%s stream ended at %lu", load->name, connection->back);
	}
	connection_end(vsock, connection, !in_order && !whole && connection->state != CLOSING);
}

static void add_stray(struct vsock *vsock, uint32_t own_port, uint32_t peer_port) {
	if (vsock->stray_count < 8) vsock->strays[vsock->stray_count++] = (struct stray){own_port, peer_port};
}

static void take_shutdown(struct load *load, struct connection *connection, uint32_t flags) {
	struct vsock *vsock = load->state;
	connection->peer_shutdown |= flags & SHUTDOWN_BOTH;
	/* What the host's side of its own stream still wants to read is sent first. */
	bool more = !is_client(vsock, connection) && connection->peer_shutdown != SHUTDOWN_BOTH;
	if (more || (is_client(vsock, connection) && (connection->peer_shutdown & SHUTDOWN_SEND) == 0)) return;
	finish(load, connection, true);
	/* The other side waits for a last answer (5.10.6.5). */
	add_stray(vsock, connection->own_port, connection->peer_port);
}

void vsock_receive(struct load *load, const struct packet *packet, const uint8_t *payload) {
	struct vsock *vsock = load->state;
	if (packet->to_cid != vsock->cid || packet->from_cid != HOST_CID) {
		bad("%s packet from cid %lu to %lu", load->name, packet->from_cid, packet->to_cid);
	}
	struct connection *connection = find(vsock, packet);
	if (connection == NULL) {
		if (packet->operation == OP_RST || accept(vsock, packet)) return;
		add_stray(vsock, packet->to_port, packet->from_port);
		return;
	}
	load_moved(load);
	connection->since = load_clock;
	read_credit(connection, packet);
	switch (packet->operation) {
	case OP_RESPONSE:
		if (connection->state == CONNECTING) connection->state = OPEN;
		break;
	case OP_RST: finish(load, connection, false); break;
	case OP_SHUTDOWN: take_shutdown(load, connection, packet->flags); break;
	case OP_RW: take_data(load, connection, payload, packet->length); break;
	case OP_CREDIT_REQUEST: connection->owed |= 1 << OP_CREDIT_UPDATE; break;
	case OP_CREDIT_UPDATE: break;
	default: bad("%s packet with operation %u", load->name, packet->operation);
	}
}
