import { buffer, i32, named, type StateOf, struct, timer, u8, u16, u32, vmstate } from "@baton/migration/vmstate";
import { RX_CAPACITY, TX_CAPACITY, type UartState } from "../uart-16550.js";

const FIFO_BYTES = 16;
/** The interrupt identification of an empty transmitter. */
const IIR_TRANSMITTER = 2;
const IIR_MASK = 0x0f;
const IIR_NONE = 1;

const fifo = vmstate({
  name: "Fifo8",
  version: 1,
  fields: { data: buffer(FIFO_BYTES), head: u32, count: named("num", u32) },
});
const chip = vmstate({
  name: "serial",
  version: 3,
  minimumVersion: 3,
  fields: {
    divisor: named("divider", u16),
    rbr: u8,
    ier: u8,
    iir: u8,
    lcr: u8,
    mcr: u8,
    lsr: u8,
    msr: u8,
    scr: u8,
    fcr: named("fcr_vmstate", u8),
  },
  subsections: {
    transmitterPending: vmstate({
      name: "serial/thr_ipending",
      version: 1,
      fields: { value: named("thr_ipending", i32) },
    }),
    transmitter: vmstate({
      name: "serial/tsr",
      version: 1,
      fields: { retry: named("tsr_retry", u32), thr: u8, tsr: u8 },
    }),
    receiveFifo: vmstate({
      name: "serial/recv_fifo",
      version: 1,
      fields: { fifo: named("recv_fifo", struct(fifo)) },
    }),
    transmitFifo: vmstate({
      name: "serial/xmit_fifo",
      version: 1,
      fields: { fifo: named("xmit_fifo", struct(fifo)) },
    }),
    fifoTimeout: vmstate({
      name: "serial/fifo_timeout_timer",
      version: 1,
      fields: { expires: named("fifo_timeout_timer", timer) },
    }),
    timeoutPending: vmstate({
      name: "serial/timeout_ipending",
      version: 1,
      fields: { value: named("timeout_ipending", i32) },
    }),
    poll: vmstate({
      name: "serial/poll",
      version: 1,
      fields: { level: named("poll_msl", i32), expires: named("modem_status_poll", timer) },
    }),
  },
});

/**
 * QEMU's section `serial`, version 3: a 16550A on the ISA bus. From Baton it has one subsection, `serial/thr_ipending`;
 * `rbr` and `iir` follow from the rest and mean nothing on load. QEMU: hw/char/serial.c, hw/char/serial-isa.c.
 */
export const serialVmstate = vmstate({ name: "serial", version: 3, fields: { state: struct(chip) } });

/** A serial port in QEMU's layout. */
export type SerialSection = StateOf<typeof serialVmstate>;

/** Baton's section `baton/serial`: what is on its way between the port and its back end. */
export const ownSerialVmstate = vmstate({
  name: "baton/serial",
  version: 1,
  fields: { receivedBytes: u32, received: buffer("receivedBytes"), sentBytes: u32, sent: buffer("sentBytes") },
  postLoad(state) {
    if (state.receivedBytes > RX_CAPACITY) throw new Error(`${state.receivedBytes} bytes received of ${RX_CAPACITY}`);
    if (state.sentBytes > TX_CAPACITY) throw new Error(`${state.sentBytes} bytes sent of ${TX_CAPACITY}`);
    return state;
  },
});

/** The sections of a serial port. */
export interface SerialSections {
  readonly serial: SerialSection;
  readonly own: StateOf<typeof ownSerialVmstate>;
}

/** A serial port as sections. */
export function saveSerial(uart: UartState): SerialSections {
  const { threPending, received, sent, ...registers } = uart;
  const state = {
    ...registers,
    rbr: 0,
    iir: threPending ? IIR_TRANSMITTER : IIR_NONE,
    transmitterPending: { value: threPending ? 1 : 0 },
  };
  return { serial: { state }, own: { receivedBytes: received.length, received, sentBytes: sent.length, sent } };
}

/** The state that the sections are of. */
export function joinSerial({ serial, own }: SerialSections): UartState {
  const { ier, fcr, lcr, mcr, lsr, msr, scr, divisor, iir, transmitterPending } = serial.state;
  const threPending =
    transmitterPending === undefined ? (iir & IIR_MASK) === IIR_TRANSMITTER : transmitterPending.value !== 0;
  return { ier, fcr, lcr, mcr, lsr, msr, scr, divisor, threPending, received: own.received, sent: own.sent };
}
