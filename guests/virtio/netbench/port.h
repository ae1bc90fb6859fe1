/* A network device as netbench uses it: frames go out, come in, and go back to the device. */
#pragma once
#include "device.h"
#include "net.h"

#define SENDS 256
#define RECEIVES 192
#define RECEIVE_BYTES 4096u
/* A TSO frame of 64 KiB, with its header, in buffers of RECEIVE_BYTES. */
#define MERGED_MOST 17
#define FRAME_GSO_MOST 65549u

/* A frame that the guest made, or that it sends back. */
struct sending {
	struct net_header header;
	uint8_t *frame;
	uint32_t bytes;
	/* The receive buffer that the frame lies in; NULL for the guest's own. */
	uint8_t *buffer;
	bool busy;
};

/* A frame that came in. */
struct incoming {
	/* Its start, as far as the first buffer goes. */
	uint8_t *frame;
	uint32_t bytes, buffers;
	uint8_t *tokens[MERGED_MOST];
};

struct port {
	struct device device;
	struct queue receive, send;
	struct sending sends[SENDS];
	/* What can be on its way at once. */
	unsigned depth;
	uint8_t mac[6];
};

extern struct port port;

/* Finds the first network device, initialises it; `gso` asks for TSO both ways. */
void port_start(bool gso, unsigned depth);

/* A place for a frame to send; NULL while all are on their way. */
struct sending *port_place(void);

/* Sends it; the device hears of it by `port_kick`. */
void port_send(struct sending *sending);
void port_kick(void);

/* Frames that are on their way, after those that are through were taken back. */
unsigned port_sending(void);

/* Takes the next frame that came in; false if there is none. */
bool port_receive(struct incoming *incoming);

/* Whether more frames have come in. */
bool port_pending(void);

/* Gives the frame's buffers back to the device, which hears of it by `port_kick`. */
void port_give_all(const struct incoming *incoming);

/* After a look at both queues that found nothing: spins a little, or sleeps until the next interrupt. */
void port_wait(void);
