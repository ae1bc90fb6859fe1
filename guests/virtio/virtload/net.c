/* Network devices (virtio 1.2, 5.1): sends numbered frames, and expects each to come back once, as it was. */
#include "net.h"
#include "load.h"
#include "memory.h"
#include "net-window.h"
#include "print.h"
#include "random.h"
#include "words.h"
#include <stddef.h>

#define MAGIC 0x616f4c74u
#define SENDS 32
#define RECEIVES 64
/* Small, so that a frame needs several where they may be merged (5.1.6.4); otherwise one must hold it. */
#define RECEIVE_BYTES 2048u
#define MERGED_BYTES 512u

struct frame {
	struct ethernet ethernet;
	uint32_t magic;
	uint64_t sequence;
	/* Of the whole frame. */
	uint16_t bytes;
	/* Filled with `fill_of`. */
	uint8_t filling[FRAME_MOST - sizeof(struct ethernet) - 14];
} __attribute__((packed));
#define FRAME_HEAD ((uint32_t)offsetof(struct frame, filling))

struct send {
	bool busy;
	struct net_header header;
	struct frame frame;
};

struct net {
	struct queue receive, send;
	struct send sends[SENDS];
	uint8_t buffers[RECEIVES][RECEIVE_BYTES];
	uint32_t buffer_bytes;
	/* The frame that comes in, with its header; how many bytes and buffers of it are there. */
	uint8_t incoming[NET_HEADER + FRAME_MOST + RECEIVE_BYTES];
	uint32_t gathered, missing;
	struct window window;
	uint64_t random, timeout, flying_most;
	bool echo, down;
	uint8_t mac[6];
};

static uint8_t fill_of(uint64_t sequence, uint32_t at) {
	return sequence * 31 + at * 7 + (at >> 8);
}

static void give_buffer(struct load *load, uint8_t *buffer) {
	struct net *net = load->state;
	uint64_t at = (uintptr_t)buffer;
	struct segment parts[] = {{at, NET_HEADER, true}, {at + NET_HEADER, net->buffer_bytes - NET_HEADER, true}};
	struct segment whole = {at, net->buffer_bytes, true};
	bool halves = random_below(&net->random, 4) == 0 && net->receive.free > 2 * RECEIVES;
	if (!queue_add(&net->receive, halves ? parts : &whole, 1 + halves, buffer)) bad("%s queue is full", load->name);
}

static void submit(struct load *load) {
	struct net *net = load->state;
	for (unsigned i = 0; i < SENDS && !net->down; i++) {
		struct send *send = &net->sends[i];
		if (send->busy || net->send.free < 3) continue;
		if ((net->echo && net->window.flying >= net->flying_most) || !load_begins(load)) break;
		struct frame *frame = &send->frame;
		uint32_t bytes = FRAME_LEAST + random_below(&net->random, FRAME_MOST - FRAME_LEAST + 1);
		send->header = (struct net_header){0};
		memset(frame->ethernet.to, 0xff, 6);
		memcpy(frame->ethernet.from, net->mac, 6);
		frame->ethernet.type = big16(ETHERTYPE_LOCAL);
		frame->magic = MAGIC;
		frame->sequence = window_send(&net->window, load_clock);
		frame->bytes = bytes;
		for (uint32_t at = 0; at < bytes - FRAME_HEAD; at++) frame->filling[at] = fill_of(frame->sequence, at);
		uint64_t at = (uintptr_t)frame;
		uint32_t cut = 1 + random_below(&net->random, bytes - 1);
		struct segment parts[] = {
			{(uintptr_t)&send->header, NET_HEADER, false}, {at, cut, false}, {at + cut, bytes - cut, false},
		};
		if (!queue_add(&net->send, parts, 3, send)) bad("%s queue is full", load->name);
		send->busy = true;
	}
	queue_kick(&net->send);
}

/* Frames of others are passed over. */
static void check(struct load *load, const struct frame *frame, uint32_t bytes) {
	struct net *net = load->state;
	if (bytes < FRAME_HEAD || frame->ethernet.type != big16(ETHERTYPE_LOCAL) || frame->magic != MAGIC) return;
	uint64_t sequence = frame->sequence;
	if (bytes != frame->bytes) bad("%s seq=%lu came with %u bytes, not %u", load->name, sequence, bytes, frame->bytes);
	for (uint32_t at = 0; at < bytes - FRAME_HEAD; at++) {
		if (frame->filling[at] != fill_of(sequence, at)) bad("%s seq=%lu is wrong at %u", load->name, sequence, at);
	}
	const char *wrong = window_return(&net->window, sequence);
	if (wrong != NULL) bad("%s seq=%lu %s", load->name, sequence, wrong);
	if (window_has_lost(&net->window)) bad("%s lost seq=%lu", load->name, net->window.oldest);
	load_ended(load);
}

static void receive(struct load *load, uint8_t *buffer, uint32_t length) {
	struct net *net = load->state;
	if (net->missing == 0) {
		if (length < NET_HEADER) bad("%s gave %u bytes, less than a header", load->name, length);
		/* Without the feature only some devices say 1. */
		net->missing = device_has(&load->device, NET_F_MRG_RXBUF) ? ((struct net_header *)buffer)->buffers : 1;
		net->gathered = 0;
		if (net->missing == 0) bad("%s gave a frame of no buffers", load->name);
	}
	if (net->gathered + length > sizeof net->incoming) bad("%s gave a frame that is too long", load->name);
	memcpy(net->incoming + net->gathered, buffer, length);
	net->gathered += length;
	give_buffer(load, buffer);
	if (--net->missing != 0) return;
	check(load, (struct frame *)(net->incoming + NET_HEADER), net->gathered - NET_HEADER);
}

static void serve(struct load *load) {
	struct net *net = load->state;
	struct used used;
	do {
		queue_quiet(&net->send);
		while (queue_take(&net->send, &used)) {
			((struct send *)used.token)->busy = false;
			if (!net->echo) load_ended(load);
		}
	} while (queue_listen(&net->send));
	do {
		queue_quiet(&net->receive);
		while (queue_take(&net->receive, &used)) receive(load, used.token, used.length);
		queue_kick(&net->receive);
	} while (queue_listen(&net->receive));
	submit(load);
}

static void tick(struct load *load) {
	struct net *net = load->state;
	if (load_clock > net->timeout) window_expire(&net->window, load_clock - net->timeout);
	submit(load);
}

static bool is_down(struct load *load) {
	return device_has(&load->device, NET_F_STATUS) && (config16(&load->device, NET_STATUS) & NET_LINK_UP) == 0;
}

/* The cable is in or out: what is on its way then may be lost. */
static void config(struct load *load) {
	struct net *net = load->state;
	if (is_down(load) == net->down) return;
	net->down = !net->down;
	window_forgive(&net->window);
	print("LINK %s up=%u\n", load->name, !net->down);
	submit(load);
}

static void start(struct load *load) {
	bool again = load->state != NULL;
	struct net *net = load_state(load, sizeof *net);
	load_negotiate(load, NET_F_MAC | NET_F_MRG_RXBUF | NET_F_STATUS);
	net->random = load->device.base;
	net->echo = parameter_within("netecho", 1, 0, 1);
	net->flying_most = parameter_within("netwindow", 16, 1, SENDS);
	net->timeout = parameter("nettimeout", 3000000000ul);
	net->buffer_bytes = device_has(&load->device, NET_F_MRG_RXBUF) ? MERGED_BYTES : RECEIVE_BYTES;
	net->missing = 0;
	net->down = is_down(load);
	static const uint8_t local[6] = {0x02, 0xba, 0x70, 0x6e};
	memcpy(net->mac, local, 6);
	for (unsigned i = 0; i < 6 && device_has(&load->device, NET_F_MAC); i++) net->mac[i] = config8(&load->device, i);
	load_queue(load, NET_RX, &net->receive, 2);
	load_queue(load, NET_TX, &net->send, 3);
	for (unsigned i = 0; i < SENDS; i++) net->sends[i].busy = false;
	window_forgive(&net->window);
	for (unsigned i = 0; i < RECEIVES && net->receive.free != 0; i++) give_buffer(load, net->buffers[i]);
	device_ready(&load->device);
	if (!again) device_print(&load->device, &net->receive);
	queue_kick(&net->receive);
	serve(load);
}

static bool waits(const struct load *load) {
	const struct net *net = load->state;
	return net->send.with_device != 0 || (net->echo && net->window.flying != 0);
}

static void summary(const struct load *load) {
	const struct net *net = load->state;
	print(" %s_late=%u", load->name, net->window.late);
}

const struct driver net_driver = {ID_NET, true, start, serve, config, tick, waits, summary};
