import base from "../jest.base.js";

/** One testbed at a time: each takes a CPU. */
export default { ...base, maxWorkers: 1 };
