import { array, i32, i64, named, type StateOf, struct, u8, u16, u32, u64, vmstate } from "@baton/migration/vmstate";
import { segmentVmstate } from "./segment.js";

/** 64 bits of mantissa, 16 of sign and exponent: an x87 register. */
const x87Register = vmstate({ name: "fpreg", version: 1, minimumVersion: 0, fields: { mantissa: u64, exponent: u16 } });
const xmmRegister = vmstate({
  name: "xmm_reg",
  version: 1,
  fields: { low: named("_q_ZMMReg[0]", u64), high: named("_q_ZMMReg[1]", u64) },
});
const ymmHigh = vmstate({
  name: "ymmh_reg",
  version: 1,
  fields: { low: named("_q_ZMMReg[2]", u64), high: named("_q_ZMMReg[3]", u64) },
});
const variableMtrr = vmstate({ name: "mtrr_var", version: 1, fields: { base: u64, mask: u64 } });

/** A subsection with one value of 64 bits. */
function wide<N extends string>(name: N, streamName: string) {
  return vmstate({ name: `cpu/${name}`, version: 1, fields: { value: named(streamName, u64) } });
}

/**
 * QEMU's section `cpu`, version 12: one of each vCPU, by its number. Registers and the MSRs that it has room for stand
 * here and nowhere else. `hflags` and `hflags2`, the `svm` members and `a20Mask` are QEMU's own and mean nothing on load;
 * so do the members on exceptions and interrupts, which are copies of those in `baton/vcpu`.
 * QEMU: target/i386/machine.c.
 */
export const cpuVmstate = vmstate({
  name: "cpu",
  version: 12,
  fields: {
    /** rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15. */
    registers: named("env.regs", array(16, u64)),
    rip: named("env.eip", u64),
    rflags: named("env.eflags", u64),
    hflags: named("env.hflags", u32),
    fpuControl: named("env.fpuc", u16),
    fpuStatus: named("env.fpus_vmstate", u16),
    /** A bit for each x87 register that is empty. */
    fpuTag: named("env.fptag_vmstate", u16),
    fpuFormat: named("env.fpregs_format_vmstate", u16),
    x87: named("env.fpregs", array(8, struct(x87Register))),
    /** es, cs, ss, ds, fs, gs. */
    segments: named("env.segs", array(6, struct(segmentVmstate))),
    ldt: named("env.ldt", struct(segmentVmstate)),
    tr: named("env.tr", struct(segmentVmstate)),
    gdt: named("env.gdt", struct(segmentVmstate)),
    idt: named("env.idt", struct(segmentVmstate)),
    sysenterCs: named("env.sysenter_cs", u32),
    sysenterEsp: named("env.sysenter_esp", u64),
    sysenterEip: named("env.sysenter_eip", u64),
    cr0: named("env.cr[0]", u64),
    cr2: named("env.cr[2]", u64),
    cr3: named("env.cr[3]", u64),
    cr4: named("env.cr[4]", u64),
    debug: named("env.dr", array(8, u64)),
    a20Mask: named("env.a20_mask", i32),
    mxcsr: named("env.mxcsr", u32),
    xmm: named("env.xmm_regs[0]", array(16, struct(xmmRegister))),
    efer: named("env.efer", u64),
    star: named("env.star", u64),
    lstar: named("env.lstar", u64),
    cstar: named("env.cstar", u64),
    fmask: named("env.fmask", u64),
    kernelGsBase: named("env.kernelgsbase", u64),
    smbase: named("env.smbase", u32),
    pat: named("env.pat", u64),
    hflags2: named("env.hflags2", u32),
    vmHsave: named("env.vm_hsave", u64),
    svmVmcb: named("env.vm_vmcb", u64),
    svmTscOffset: named("env.tsc_offset", u64),
    svmIntercept: named("env.intercept", u64),
    svmInterceptCrRead: named("env.intercept_cr_read", u16),
    svmInterceptCrWrite: named("env.intercept_cr_write", u16),
    svmInterceptDrRead: named("env.intercept_dr_read", u16),
    svmInterceptDrWrite: named("env.intercept_dr_write", u16),
    svmInterceptExceptions: named("env.intercept_exceptions", u32),
    svmTpr: named("env.v_tpr", u8),
    mtrrFixed: named("env.mtrr_fixed", array(11, u64)),
    mtrrDefaultType: named("env.mtrr_deftype", u64),
    mtrrVariable: named("env.mtrr_var", array(8, struct(variableMtrr))),
    interruptInjected: named("env.interrupt_injected", i32),
    mpState: named("env.mp_state", u32),
    tsc: named("env.tsc", u64),
    exceptionNr: named("env.exception_nr", i32),
    softInterrupt: named("env.soft_interrupt", u8),
    nmiInjected: named("env.nmi_injected", u8),
    nmiPending: named("env.nmi_pending", u8),
    hasErrorCode: named("env.has_error_code", u8),
    sipiVector: named("env.sipi_vector", u32),
    mcgCap: named("env.mcg_cap", u64),
    mcgStatus: named("env.mcg_status", u64),
    mcgCtl: named("env.mcg_ctl", u64),
    mceBanks: named("env.mce_banks", array(40, u64)),
    tscAux: named("env.tsc_aux", u64),
    systemTime: named("env.system_time_msr", u64),
    wallClock: named("env.wall_clock_msr", u64),
    xcr0: named("env.xcr0", u64),
    xstateBv: named("env.xstate_bv", u64),
    ymm: named("env.xmm_regs[1]", array(16, struct(ymmHigh))),
  },
  subsections: {
    asyncPf: wide("async_pf_msr", "env.async_pf_en_msr"),
    pvEoi: wide("async_pv_eoi_msr", "env.pv_eoi_en_msr"),
    stealTime: wide("steal_time_msr", "env.steal_time_msr"),
    pollControl: wide("poll_control_msr", "env.poll_control_msr"),
    fpuPointers: vmstate({
      name: "cpu/fpop_ip_dp",
      version: 1,
      fields: { opcode: named("env.fpop", u16), ip: named("env.fpip", u64), dp: named("env.fpdp", u64) },
    }),
    tscAdjust: wide("msr_tsc_adjust", "env.tsc_adjust"),
    tscDeadline: wide("msr_tscdeadline", "env.tsc_deadline"),
    miscEnable: wide("msr_ia32_misc_enable", "env.msr_ia32_misc_enable"),
    featureControl: wide("msr_ia32_feature_control", "env.msr_ia32_feature_control"),
    xss: wide("xss", "env.xss"),
    tscKhz: vmstate({ name: "cpu/tsc_khz", version: 1, fields: { value: named("env.tsc_khz", i64) } }),
    smiCount: wide("msr_smi_count", "env.msr_smi_count"),
    spec: wide("spec_ctrl", "env.spec_ctrl"),
    mcgExtCtl: wide("mcg_ext_ctl", "env.mcg_ext_ctl"),
    virtSsbd: wide("virt_ssbd", "env.virt_ssbd"),
  },
});

/** A vCPU in QEMU's layout. */
export type CpuSection = StateOf<typeof cpuVmstate>;

/**
 * QEMU's section `cpu_common`, version 1: one of each vCPU, by its number. Both members are copies, made of the MP state
 * and of nothing; on load the section `cpu` counts. QEMU: softmmu/physmem.c.
 */
export const cpuCommonVmstate = vmstate({
  name: "cpu_common",
  version: 1,
  fields: { halted: u32, interruptRequest: named("interrupt_request", u32) },
});

/** What QEMU says of a vCPU whatever its architecture. */
export type CpuCommonSection = StateOf<typeof cpuCommonVmstate>;
