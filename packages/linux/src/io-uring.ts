import { EAGAIN, EBUSY, EINTR, EINVAL, ENOSYS, EPERM } from "./abi/errno.js";
import {
  IORING_ENTER_GETEVENTS,
  IORING_FEAT_NODROP,
  IORING_FEAT_SINGLE_MMAP,
  IORING_FEAT_SUBMIT_STABLE,
  IORING_FSYNC_DATASYNC,
  IORING_OFF_SQ_RING,
  IORING_OFF_SQES,
  IORING_OP_FSYNC,
  IORING_OP_READV,
  IORING_OP_WRITEV,
  IORING_REGISTER_EVENTFD,
  IORING_SETUP_COOP_TASKRUN,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SUBMIT_ALL,
  IORING_SETUP_TASKRUN_FLAG,
  IORING_SQ_TASKRUN,
  IOSQE_ASYNC,
  io_uring_cqe,
  io_uring_params,
  io_uring_sqe,
  SYS_io_uring_enter,
  SYS_io_uring_register,
  SYS_io_uring_setup,
} from "./abi/io-uring.js";
import { MAP_POPULATE, MAP_SHARED, PROT_READ, PROT_WRITE } from "./abi/mman.js";
import { checked, throwErrno } from "./errno.js";
import { BatonError } from "./errors.js";
import { Fd, type FdLike, fdName, rawFd } from "./fd.js";
import { mmap, munmap, view } from "./maps.js";
import { lastErrno, libc } from "./native.js";
import { anInt } from "./validate.js";

/** What {@link IoUring.open} may be told. */
export interface IoUringOptions {
  /** The most requests under way: 1 to 4096, made a power of two. 256 unless given. */
  readonly entries?: number;
  /**
   * Has threads of the kernel carry out all of a request, even what need not wait, as copying from and to the page
   * cache: for large ones, beside which the calling thread has work of its own. IOSQE_ASYNC.
   */
  readonly async?: boolean;
}

/** Where parts of the rings stand, in words of 32 bits. */
interface Places {
  readonly sqTail: number;
  readonly sqFlags: number;
  readonly cqHead: number;
  readonly cqTail: number;
  readonly cqes: number;
  readonly cqMask: number;
}

type Setup = (number: number, entries: number, params: Uint8Array) => number;
type Enter = (
  number: number,
  fd: number,
  submit: number,
  wait: number,
  flags: number,
  mask: null,
  size: number,
) => number;
type Register = (number: number, fd: number, operation: number, argument: Int32Array, count: number) => number;

const MAX_ENTRIES = 4096;
/** An entry's flags are the byte after its opcode. */
const FLAGS_SHIFT = 8;
const SQE_WORDS = io_uring_sqe.size / 4;
const CQE_WORDS = io_uring_cqe.size / 4;
const FEATURES = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE;

/** From the best on: since Linux 6.1 completions wait for the thread to ask, since 5.19 they do not interrupt it. */
const MODES: readonly number[] = [
  IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_COOP_TASKRUN,
  0,
];

const REASONS: Readonly<Record<number, string>> = {
  [ENOSYS]: "this kernel has no io_uring",
  [EPERM]: "the sysctl kernel.io_uring_disabled, or a seccomp filter, forbids it",
};

/**
 * Requests that the kernel carries out while its thread goes on: they are prepared, submitted together, and their results
 * are taken in any order. For hot loops of the one thread that has opened it; arguments are not checked. What a request
 * reads or writes must stay mapped until its result is taken. io_uring(7).
 */
export class IoUring {
  readonly fd: Fd;
  /** The most requests under way. */
  readonly entries: number;
  readonly #places: Places;
  readonly #mappings: readonly { readonly hva: bigint; readonly length: number }[];
  readonly #enter: Enter;
  /** Of each entry, beside its opcode. */
  readonly #flags: number;
  /** Both rings with their completions; empty once it is closed. */
  #rings: Int32Array;
  #submissions: Int32Array;
  #tail = 0;
  #head = 0;
  #prepared = 0;
  #underWay = 0;

  private constructor(fd: Fd, params: DataView, mappings: { hva: bigint; length: number }[], async: boolean) {
    const [rings, submissions] = mappings.map(({ hva, length }) => new Int32Array(view(hva, length)));
    const word = (field: number) => params.getUint32(field, true) / 4;
    this.fd = fd;
    this.entries = params.getUint32(io_uring_params.sq_entries, true);
    this.#mappings = mappings;
    this.#flags = async ? IOSQE_ASYNC << FLAGS_SHIFT : 0;
    this.#rings = rings as Int32Array;
    this.#submissions = submissions as Int32Array;
    this.#places = {
      sqTail: word(io_uring_params.sq_off_tail),
      sqFlags: word(io_uring_params.sq_off_flags),
      cqHead: word(io_uring_params.cq_off_head),
      cqTail: word(io_uring_params.cq_off_tail),
      cqes: word(io_uring_params.cq_off_cqes),
      cqMask: params.getUint32(io_uring_params.cq_entries, true) - 1,
    };
    this.#enter = libc<Enter>("long syscall(long, long, long, long, long, void *, long)");
    // Each place of the submission ring keeps its own entry.
    const array = word(io_uring_params.sq_off_array);
    for (let i = 0; i < this.entries; i++) this.#rings[array + i] = i;
  }

  /**
   * Makes a ring for the calling thread. Throws `IO_URING_UNAVAILABLE` with the reason: `ENOSYS`, `EPERM`, or a kernel
   * before 5.5. io_uring_setup(2).
   */
  static open({ entries = 256, async = false }: IoUringOptions = {}): IoUring {
    anInt(entries, "entries", 1, MAX_ENTRIES);
    const bytes = new Uint8Array(io_uring_params.size);
    const params = new DataView(bytes.buffer);
    const fd = setup(entries, bytes, params);
    const mappings: { hva: bigint; length: number }[] = [];
    try {
      if ((params.getUint32(io_uring_params.features, true) & FEATURES) !== FEATURES) {
        throw new BatonError("IO_URING_UNAVAILABLE", "io_uring of this kernel is older than Linux 5.5");
      }
      const submissions = params.getUint32(io_uring_params.sq_entries, true);
      const completions = params.getUint32(io_uring_params.cq_entries, true);
      const ends = [
        params.getUint32(io_uring_params.sq_off_array, true) + submissions * 4,
        params.getUint32(io_uring_params.cq_off_cqes, true) + completions * io_uring_cqe.size,
      ];
      mappings.push(map(fd, Math.max(...ends), IORING_OFF_SQ_RING));
      mappings.push(map(fd, submissions * io_uring_sqe.size, IORING_OFF_SQES));
      return new IoUring(fd, params, mappings, async);
    } catch (error) {
      for (const { hva, length } of mappings) munmap(hva, length);
      fd.close();
      throw error;
    }
  }

  /** As {@link IoUring.open}; undefined where there is no io_uring for this process. */
  static openIfAvailable(options: IoUringOptions = {}): IoUring | undefined {
    try {
      return IoUring.open(options);
    } catch (error) {
      if (BatonError.is(error, "IO_URING_UNAVAILABLE")) return undefined;
      throw error;
    }
  }

  /** Requests prepared or submitted, whose results were not taken. */
  get underWay(): number {
    return this.#underWay;
  }

  /** Requests that may be prepared now. */
  get room(): number {
    return this.entries - this.#underWay;
  }

  /** Has an eventfd signalled whenever results are there. IORING_REGISTER_EVENTFD. */
  notify(eventfd: FdLike): void {
    const register = libc<Register>("long syscall(long, long, long, void *, long)");
    const argument = Int32Array.of(rawFd(eventfd));
    const result = register(SYS_io_uring_register, this.fd.raw, IORING_REGISTER_EVENTFD, argument, 1);
    checked(result, "io_uring_register IORING_REGISTER_EVENTFD", fdName(eventfd));
  }

  /**
   * Prepares to read `count` pieces, packed at the address `iov` and left there until they are submitted, from `offset`
   * on; `flags` are of `RWF_*`; `token`, of 31 bits, comes back with the result. There must be {@link IoUring.room}.
   */
  readv(rawFd: number, iov: number, count: number, offset: number, flags: number, token: number): void {
    this.#prepare(IORING_OP_READV, rawFd, iov, count, offset, flags, token);
  }

  /** Prepares to write, as {@link IoUring.readv} does. */
  writev(rawFd: number, iov: number, count: number, offset: number, flags: number, token: number): void {
    this.#prepare(IORING_OP_WRITEV, rawFd, iov, count, offset, flags, token);
  }

  /** Prepares fdatasync(2), which knows nothing of requests that are under way. */
  fdatasync(rawFd: number, token: number): void {
    this.#prepare(IORING_OP_FSYNC, rawFd, 0, 0, 0, IORING_FSYNC_DATASYNC, token);
  }

  #prepare(
    opcode: number,
    fd: number,
    address: number,
    length: number,
    offset: number,
    flags: number,
    token: number,
  ): void {
    const words = this.#submissions;
    const at = (this.#tail & (this.entries - 1)) * SQE_WORDS;
    // All else in an entry is 0, and stays so: a priority beside the opcode, what comes after the token.
    words[at + io_uring_sqe.opcode / 4] = opcode | this.#flags;
    words[at + io_uring_sqe.fd / 4] = fd;
    words[at + io_uring_sqe.off / 4] = offset;
    words[at + io_uring_sqe.off / 4 + 1] = offset / 0x1_0000_0000;
    words[at + io_uring_sqe.addr / 4] = address;
    words[at + io_uring_sqe.addr / 4 + 1] = address / 0x1_0000_0000;
    words[at + io_uring_sqe.len / 4] = length;
    words[at + io_uring_sqe.rw_flags / 4] = flags;
    words[at + io_uring_sqe.user_data / 4] = token;
    this.#tail = (this.#tail + 1) | 0;
    this.#prepared++;
    this.#underWay++;
  }

  /** Submits what was prepared. Throws `SYSCALL_FAILED`. io_uring_enter(2). */
  submit(): void {
    if (this.#prepared === 0) return;
    Atomics.store(this.#rings, this.#places.sqTail, this.#tail);
    while (this.#prepared > 0) {
      const result = this.#enterRing(this.#prepared, 0, 0);
      if (result > 0) this.#prepared -= result;
      // Out of memory for requests: those that end give theirs back.
      else if ((result === -EAGAIN || result === -EBUSY) && this.#underWay > this.#prepared) this.#waitFor(1);
      else if (result !== -EINTR) throwErrno("io_uring_enter", -result);
    }
  }

  /** Submits what was prepared, and waits until a result is there if any request is under way. */
  wait(): void {
    this.submit();
    if (this.#underWay > 0) this.#waitFor(1);
  }

  /** Takes results, up to half as many as `into` is long: writes a pair for each, its token and its result. */
  reap(into: Int32Array): number {
    const most = into.length >> 1;
    let count = this.#take(into, 0, most);
    // The kernel puts work off until it is asked for, and does a part of it at a time.
    while (count < most && (Atomics.load(this.#rings, this.#places.sqFlags) & IORING_SQ_TASKRUN) !== 0) {
      this.#waitFor(0);
      count = this.#take(into, count, most);
    }
    this.#underWay -= count;
    return count;
  }

  #take(into: Int32Array, from: number, most: number): number {
    const rings = this.#rings;
    const { cqHead, cqTail, cqes, cqMask } = this.#places;
    const end = Atomics.load(rings, cqTail);
    let head = this.#head;
    let count = from;
    for (; head !== end && count < most; head = (head + 1) | 0, count++) {
      const at = cqes + (head & cqMask) * CQE_WORDS;
      into[2 * count] = rings[at + io_uring_cqe.user_data / 4] as number;
      into[2 * count + 1] = rings[at + io_uring_cqe.res / 4] as number;
    }
    this.#head = head;
    Atomics.store(rings, cqHead, head);
    return count;
  }

  #waitFor(count: number): void {
    for (;;) {
      const result = this.#enterRing(0, count, IORING_ENTER_GETEVENTS);
      if (result >= 0) return;
      if (result !== -EINTR) throwErrno("io_uring_enter", -result);
    }
  }

  #enterRing(submit: number, wait: number, flags: number): number {
    const result = this.#enter(SYS_io_uring_enter, this.fd.raw, submit, wait, flags, null, 0);
    return result < 0 ? -lastErrno() : result;
  }

  /** Lets go of the ring: nothing may be under way. May be called again. */
  close(): void {
    if (this.fd.closed) return;
    this.#rings = new Int32Array(0);
    this.#submissions = new Int32Array(0);
    for (const { hva, length } of this.#mappings) munmap(hva, length);
    this.fd.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function setup(entries: number, bytes: Uint8Array, params: DataView): Fd {
  const call = libc<Setup>("long syscall(long, long, void *)");
  let errno = 0;
  for (const mode of MODES) {
    bytes.fill(0);
    params.setUint32(io_uring_params.flags, mode, true);
    const raw = call(SYS_io_uring_setup, entries, bytes);
    if (raw >= 0) return Fd.adopt(raw, "io_uring");
    errno = lastErrno();
    if (errno !== EINVAL) break;
  }
  throwErrno("io_uring_setup", errno, { code: "IO_URING_UNAVAILABLE", hint: REASONS[errno] });
}

function map(fd: Fd, bytes: number, offset: number): { hva: bigint; length: number } {
  const length = Math.ceil(bytes / 4) * 4;
  const flags = MAP_SHARED | MAP_POPULATE;
  return { hva: mmap({ length, prot: PROT_READ | PROT_WRITE, flags, fd, offset }), length };
}
