# Small kernels by hand, each with one fault that compilers do not make.  All take a pointer to 256 words; s[0:1] points to the arguments.
	.amdgcn_target "amdgcn-amd-amdhsa--gfx942"
	.text

.macro begin name
	.globl	\name
	.p2align	8
	.type	\name,@function
\name:
.endm

.macro finish name, denormals=3
	s_endpgm
.L\name\()_end:
	.size	\name, .L\name\()_end-\name
	.rodata
	.p2align	6
	.amdhsa_kernel \name
		.amdhsa_group_segment_fixed_size 1024
		.amdhsa_user_sgpr_kernarg_segment_ptr 1
		.amdhsa_next_free_vgpr 32
		.amdhsa_next_free_sgpr 32
		.amdhsa_accum_offset 32
		.amdhsa_float_denorm_mode_32 \denormals
		.amdhsa_system_sgpr_workgroup_id_x 1
	.end_amdhsa_kernel
	.text
.endm
.macro .rodata
	.section	.rodata,"a",@progbits
.endm

# What the others are variations of: word t of the result is 7 + t.
	begin right
	s_load_dwordx2 s[4:5], s[0:1], 0x0
	v_lshlrev_b32_e32 v1, 2, v0
	v_add_u32_e32 v2, 7, v0
	s_waitcnt lgkmcnt(0)
	global_store_dword v1, v2, s[4:5]
	finish right

	begin scalar_load_without_wait
	s_load_dwordx2 s[4:5], s[0:1], 0x0
	v_lshlrev_b32_e32 v1, 2, v0
	global_store_dword v1, v1, s[4:5]
	finish scalar_load_without_wait

	begin load_without_wait
	s_load_dwordx2 s[4:5], s[0:1], 0x0
	v_lshlrev_b32_e32 v1, 2, v0
	s_waitcnt lgkmcnt(0)
	global_load_dword v2, v1, s[4:5]
	global_load_dword v3, v1, s[4:5]
	s_waitcnt vmcnt(1)
	v_add_u32_e32 v2, 1, v2
	v_add_u32_e32 v3, 1, v3
	global_store_dword v1, v2, s[4:5]
	finish load_without_wait

	begin overwritten_before_load
	s_load_dwordx2 s[4:5], s[0:1], 0x0
	v_lshlrev_b32_e32 v1, 2, v0
	s_waitcnt lgkmcnt(0)
	global_load_dword v2, v1, s[4:5]
	v_mov_b32_e32 v2, 0
	finish overwritten_before_load

	begin lds_without_wait
	v_lshlrev_b32_e32 v1, 2, v0
	ds_write_b32 v1, v0
	ds_read_b32 v2, v1
	v_mov_b32_e32 v3, v2
	finish lds_without_wait

	begin barrier_without_wait
	v_lshlrev_b32_e32 v1, 2, v0
	ds_write_b32 v1, v0
	s_barrier
	finish barrier_without_wait

	begin unwritten_address
	s_load_dwordx2 s[4:5], s[0:1], 0x0
	s_waitcnt lgkmcnt(0)
	global_load_dword v2, v9, s[4:5]
	finish unwritten_address

	begin unwritten_data
	s_load_dwordx2 s[4:5], s[0:1], 0x0
	v_lshlrev_b32_e32 v1, 2, v0
	v_add_u32_e32 v2, v0, v17
	s_waitcnt lgkmcnt(0)
	global_store_dword v1, v2, s[4:5]
	finish unwritten_data

	begin unwritten_condition
	s_cmp_eq_u32 s20, 0
	s_cbranch_scc1 .Lnowhere
.Lnowhere:
	finish unwritten_condition

	begin unwritten_lds
	s_load_dwordx2 s[4:5], s[0:1], 0x0
	v_lshlrev_b32_e32 v1, 2, v0
	ds_read_b32 v2, v1
	s_waitcnt lgkmcnt(0)
	global_store_dword v1, v2, s[4:5]
	finish unwritten_lds

	begin past_the_end
	s_load_dwordx2 s[4:5], s[0:1], 0x0
	v_lshlrev_b32_e32 v1, 2, v0
	v_mov_b32_e32 v2, 0
	s_waitcnt lgkmcnt(0)
	global_store_dword v1, v2, s[4:5] offset:1020
	finish past_the_end

	begin before_the_begin
	s_load_dwordx2 s[4:5], s[0:1], 0x0
	v_lshlrev_b32_e32 v1, 2, v0
	s_waitcnt lgkmcnt(0)
	global_load_dword v2, v1, s[4:5] offset:-4
	finish before_the_begin

	begin writes_arguments
	v_mov_b32_e32 v1, 0
	global_store_dword v1, v1, s[0:1]
	finish writes_arguments

	begin lds_past_the_end
	v_mov_b32_e32 v1, 0x400
	ds_write_b32 v1, v1
	s_waitcnt lgkmcnt(0)
	finish lds_past_the_end

	begin unaligned_atomic
	s_load_dwordx2 s[4:5], s[0:1], 0x0
	v_mov_b32_e32 v1, 2
	s_waitcnt lgkmcnt(0)
	global_atomic_add v1, v1, s[4:5]
	finish unaligned_atomic

	begin not_known
	s_memtime s[4:5]
	v_mov_b32_e32 v1, 2
	finish not_known

	begin transfer_without_wait
	s_load_dwordx2 s[4:5], s[0:1], 0x0
	v_lshlrev_b32_e32 v1, 2, v0
	s_mov_b32 m0, 0
	s_waitcnt lgkmcnt(0)
	global_load_lds_dword v1, s[4:5]
	ds_read_b32 v2, v1
	s_waitcnt lgkmcnt(0)
	global_store_dword v1, v2, s[4:5]
	finish transfer_without_wait

	begin transfer
	s_load_dwordx2 s[4:5], s[0:1], 0x0
	v_lshlrev_b32_e32 v1, 2, v0
	s_mov_b32 m0, 64
	s_waitcnt lgkmcnt(0)
	global_load_lds_dword v1, s[4:5]
	s_waitcnt vmcnt(0)
	ds_read_b32 v2, v1 offset:64
	s_waitcnt lgkmcnt(0)
	v_add_u32_e32 v2, 1, v2
	global_store_dword v1, v2, s[4:5]
	finish transfer

	begin flushes_denormals
	finish flushes_denormals, 0

	.amdgpu_metadata
---
amdhsa.version: [1, 2]
amdhsa.target: amdgcn-amd-amdhsa--gfx942
amdhsa.kernels:
  - {.name: right, .symbol: right.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: scalar_load_without_wait, .symbol: scalar_load_without_wait.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: load_without_wait, .symbol: load_without_wait.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: overwritten_before_load, .symbol: overwritten_before_load.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: lds_without_wait, .symbol: lds_without_wait.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: barrier_without_wait, .symbol: barrier_without_wait.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: unwritten_address, .symbol: unwritten_address.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: unwritten_data, .symbol: unwritten_data.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: unwritten_condition, .symbol: unwritten_condition.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: unwritten_lds, .symbol: unwritten_lds.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: past_the_end, .symbol: past_the_end.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: before_the_begin, .symbol: before_the_begin.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: writes_arguments, .symbol: writes_arguments.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: lds_past_the_end, .symbol: lds_past_the_end.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: unaligned_atomic, .symbol: unaligned_atomic.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: not_known, .symbol: not_known.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: transfer_without_wait, .symbol: transfer_without_wait.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: transfer, .symbol: transfer.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
  - {.name: flushes_denormals, .symbol: flushes_denormals.kd, .kernarg_segment_size: 8, .kernarg_segment_align: 8, .group_segment_fixed_size: 1024, .private_segment_fixed_size: 0,
     .wavefront_size: 64, .sgpr_count: 32, .vgpr_count: 32, .max_flat_workgroup_size: 64, .args: [{.offset: 0, .size: 8, .value_kind: global_buffer, .address_space: global}]}
...
	.end_amdgpu_metadata
