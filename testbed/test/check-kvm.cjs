// Runs inside the testbed: proves that node, koffi and /dev/kvm work there.
const koffi = require("koffi");
const libc = koffi.load("libc.so.6");
const open = libc.func("int open(const char *path, int flags)");
const ioctl = libc.func("int ioctl(int fd, unsigned long request, void *argument)");
const KVM_GET_API_VERSION = 0xae00;
const kvm = open("/dev/kvm", 2);
const version = kvm < 0 ? -1 : ioctl(kvm, KVM_GET_API_VERSION, null);
console.log("TAP version 13\n1..1");
console.log(`${version === 12 ? "ok" : "not ok"} 1 - KVM_GET_API_VERSION answers ${version}`);
process.exitCode = version === 12 ? 0 : 1;
