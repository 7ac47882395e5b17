#include "hyperstart/cgroup_devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <linux/bpf.h>

#include "base/cleanup.h"

#define RULES_MAX 256
/* Instructions of one rule at most: type, major, minor, two for the access, two for the verdict. */
#define RULE_INSNS 7

static int access_bits(const Hyper__DeviceRule *rule)
{
	int bits = 0;

	for (const char *p = rule->access; *p; p++) {
		int bit = *p == 'r'   ? BPF_DEVCG_ACC_READ
			  : *p == 'w' ? BPF_DEVCG_ACC_WRITE
			  : *p == 'm' ? BPF_DEVCG_ACC_MKNOD
				      : 0;
		if (!bit)
			return -1;
		bits |= bit;
	}
	return bits;
}

static int check(const Hyper__DeviceRule *rule, struct error *err)
{
	if (strlen(rule->type) != 1 || !strchr("abc", rule->type[0]))
		return error_set(err, ERROR_INVALID,
				 "device rule: type '%.20s': expected a, b or c", rule->type);
	if (access_bits(rule) <= 0)
		return error_set(err, ERROR_INVALID,
				 "device rule: access '%.20s': expected some of rwm", rule->access);
	if (rule->major < -1 || rule->major > UINT32_MAX || rule->minor < -1 ||
	    rule->minor > UINT32_MAX)
		return error_set(err, ERROR_INVALID, "device rule: device number out of range");
	return 0;
}

int cgroup_devices_text(const Hyper__DeviceRule *rule, char *out, size_t size, struct error *err)
{
	char major[24] = "*", minor[24] = "*";
	int r = check(rule, err);

	if (r < 0)
		return r;
	if (rule->major >= 0)
		snprintf(major, sizeof(major), "%lld", (long long)rule->major);
	if (rule->minor >= 0)
		snprintf(minor, sizeof(minor), "%lld", (long long)rule->minor);
	snprintf(out, size, "%s %s:%s %s", rule->type, major, minor, rule->access);
	return 0;
}

#define INSN(c, dst, src, o, i) \
	((struct bpf_insn){     \
		.code = (c), .dst_reg = (dst), .src_reg = (src), .off = (o), .imm = (i) })
#define LOAD(dst, field)                                \
	INSN(BPF_LDX | BPF_MEM | BPF_W, dst, BPF_REG_1, \
	     offsetof(struct bpf_cgroup_dev_ctx, field), 0)
#define IF_NOT(reg, value) INSN(BPF_JMP32 | BPF_JNE | BPF_K, reg, 0, 0, (int)(value))

/*
 * r2 type, r3 access still wanted, r4 major, r5 minor. A failed test jumps to the next rule. An
 * allowing rule strikes its bits off what is wanted and allows when nothing is left; a forbidding
 * one forbids when it names a wanted bit. From the last rule to the first this is what version 1
 * does with each bit: the latest rule decides.
 */
static size_t add_rule(struct bpf_insn *out, const Hyper__DeviceRule *rule)
{
	size_t n = 0, tests;
	int bits = access_bits(rule);

	if (rule->type[0] != 'a')
		out[n++] = IF_NOT(BPF_REG_2,
				  rule->type[0] == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	if (rule->major >= 0)
		out[n++] = IF_NOT(BPF_REG_4, rule->major);
	if (rule->minor >= 0)
		out[n++] = IF_NOT(BPF_REG_5, rule->minor);
	tests = n;
	if (rule->allow) {
		out[n++] = INSN(BPF_ALU | BPF_AND | BPF_K, BPF_REG_3, 0, 0, ~bits);
		out[n++] = INSN(BPF_JMP32 | BPF_JNE | BPF_K, BPF_REG_3, 0, 2, 0);
	} else {
		out[n++] = INSN(BPF_JMP32 | BPF_JSET | BPF_K, BPF_REG_3, 0, 1, bits);
		out[n++] = INSN(BPF_JMP | BPF_JA, 0, 0, 2, 0);
	}
	out[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, rule->allow);
	out[n++] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	for (size_t i = 0; i < tests; i++)
		out[i].off = (short)(n - i - 1);
	return n;
}

int cgroup_devices_attach(int cgroup_fd, Hyper__DeviceRule *const *rules, size_t count,
			  struct error *err)
{
	autofree struct bpf_insn *code = NULL;
	autoclose int program_fd = -1;
	union bpf_attr attr = { 0 };
	size_t n = 0;

	if (count > RULES_MAX)
		return error_set(err, ERROR_LIMIT, "at most %d device rules", RULES_MAX);
	code = calloc(count * RULE_INSNS + 8, sizeof(*code));
	if (!code)
		return error_nomem(err);
	code[n++] = LOAD(BPF_REG_2, access_type);
	code[n++] = INSN(BPF_ALU | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
	code[n++] = INSN(BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
	code[n++] = INSN(BPF_ALU | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
	code[n++] = LOAD(BPF_REG_4, major);
	code[n++] = LOAD(BPF_REG_5, minor);
	for (size_t i = count; i > 0; i--) {
		int r = check(rules[i - 1], err);

		if (r < 0)
			return r;
		n += add_rule(code + n, rules[i - 1]);
	}
	/* No rule forbade it. */
	code[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1);
	code[n++] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);

	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uint64_t)(uintptr_t)code;
	attr.insn_cnt = (uint32_t)n;
	attr.license = (uint64_t)(uintptr_t) "Apache-2.0";
	program_fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	if (program_fd < 0)
		return error_errno(err, errno, "loading the device rules");
	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)cgroup_fd;
	attr.attach_bpf_fd = (uint32_t)program_fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0)
		return error_errno(err, errno, "attaching the device rules");
	return 0;
}
