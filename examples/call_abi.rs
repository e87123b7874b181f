// The ABI from Rust without a crate: opens a build by its path, reads its argument table, runs op "forward" on seeded noise.
//
//   call_abi BUILD.so          rustc -O call_abi.rs
//
// The structs below are those of lamina_abi.h, member by member.  It knows no layer: every required argument is made from its row of the
// table.  The numbers are those of call_abi_directly.c.
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int, c_void};
use std::ptr::{null, null_mut};

const RTLD_NOW: c_int = 2;
extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(file: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Device {
    kind: i32,
    id: i32,
}
#[repr(C)]
#[derive(Clone, Copy)]
struct DType {
    code: u8,
    bits: u8,
    lanes: u16,
}
#[repr(C)]
struct Tensor {
    data: *mut c_void,
    device: Device,
    ndim: i32,
    dtype: DType,
    shape: *const i64,
    strides: *const i64,
    byte_offset: u64,
}
#[repr(C)]
struct Error {
    struct_size: u32,
    arg: i32,
    dim: i32,
    native_code: i32,
    message: [c_char; 240],
}
#[repr(C)]
struct Arg {
    name: *const c_char,
    shape: *const c_char,
    role: u32,
    flags: u32,
    may_alias: u64,
    dtypes: u64,
    dtype_of: i32,
    align: u32,
}
#[repr(C)]
struct PlanDesc {
    struct_size: u32,
    flags: u32,
    device: Device,
    host: *const c_void,
    attrs: *const c_void,
    attr_count: u32,
    reserved: u32,
    tuning: *const c_void,
    tuning_size: u64,
}
#[repr(C)]
struct Need {
    struct_size: u32,
    flags: u32,
    workspace_size: u64,
    workspace_align: u64,
    packed_size: u64,
    packed_format: *const c_char,
}
#[repr(C)]
struct Call {
    struct_size: u32,
    tensor_count: u32,
    tensors: *const *const Tensor,
    stream: *mut c_void,
    workspace: *mut c_void,
    workspace_size: u64,
}
enum Plan {}
#[repr(C)]
struct Op {
    struct_size: u32,
    kind: u32,
    name: *const c_char,
    args: *const Arg,
    attrs: *const c_void,
    arg_count: u32,
    attr_count: u32,
    plan_create: unsafe extern "C" fn(*const Op, *const PlanDesc, *mut *mut Plan, *mut Error) -> i32,
    plan_destroy: unsafe extern "C" fn(*mut Plan),
    plan_need: unsafe extern "C" fn(*const Plan, *const Call, *mut Need, *mut Error) -> i32,
    run: unsafe extern "C" fn(*const Plan, *const Call, *mut Error) -> i32,
    infer: *const c_void,
}
#[repr(C)]
struct Library {
    struct_size: u32,
    abi_minor: u32,
    name: *const c_char,
    version: *const c_char,
    target: *const c_char,
    build_id: *const c_char,
    contract: *const c_char,
    contract_size: u64,
    ops: *const *const Op,
    op_count: u32,
    flags: u32,
    extension: *const c_void,
}
const CPU: Device = Device { kind: 1, id: 0 };
const FLOAT32: DType = DType { code: 2, bits: 32, lanes: 1 };
const OPTIONAL: u32 = 1;
const OUTPUT: u32 = 5;
const FORWARD: u32 = 1;

fn text(pointer: *const c_char) -> String {
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

fn check(status: i32, error: &Error) -> Result<(), String> {
    if status == 0 { Ok(()) } else { Err(format!("status {}: {}", status, text(error.message.as_ptr()))) }
}

// splitmix64: the same numbers in every language and on every machine; in [-1, 1).
fn noise(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e3779b97f4a7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
    ((z ^ (z >> 31)) >> 40) as f32 / 8388608.0 - 1.0
}

fn extent(letter: &str) -> i64 {
    match letter { "B" => 1, "N" => 40, _ => 32 }
}

fn open(path: &str) -> Result<&'static Library, String> {
    let path = CString::new(path).map_err(|_| "the path holds a zero byte".to_string())?;
    let symbol = CString::new("lamina_library_v1").unwrap();
    unsafe {
        let file = dlopen(path.as_ptr(), RTLD_NOW);
        if file.is_null() { return Err(text(dlerror())); }
        let entry = dlsym(file, symbol.as_ptr());
        if entry.is_null() { return Err("it is no plug-in of ABI 1".to_string()); }
        let entry: extern "C" fn() -> *const Library = std::mem::transmute(entry);
        Ok(&*entry())
    }
}

fn run(path: &str) -> Result<(), String> {
    let library = open(path)?;
    let ops = unsafe { std::slice::from_raw_parts(library.ops, library.op_count as usize) };
    let forward = ops.iter().map(|op| unsafe { &**op }).find(|op| op.kind == FORWARD).ok_or("it has no op \"forward\"")?;
    let rows = unsafe { std::slice::from_raw_parts(forward.args, forward.arg_count as usize) };

    let mut error = Error { struct_size: std::mem::size_of::<Error>() as u32, arg: -1, dim: -1, native_code: 0, message: [0; 240] };
    let desc = PlanDesc { struct_size: std::mem::size_of::<PlanDesc>() as u32, flags: 0, device: CPU, host: null(), attrs: null(),
                          attr_count: 0, reserved: 0, tuning: null(), tuning_size: 0 };
    let mut plan: *mut Plan = null_mut();
    check(unsafe { (forward.plan_create)(forward, &desc, &mut plan, &mut error) }, &error)?;

    let (mut state, mut output) = (1u64, 0);
    let shapes: Vec<Vec<i64>> = rows.iter().map(|row| text(row.shape).split(' ').map(extent).collect()).collect();
    let mut values: Vec<Vec<f32>> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let count = if row.flags & OPTIONAL != 0 { 0 } else { shapes[i].iter().product::<i64>() as usize };
        let scale = if shapes[i].len() == 2 { 1.0 / (shapes[i][1] as f32).sqrt() } else { 1.0 };
        if row.role == OUTPUT { output = i; }
        values.push((0..count).map(|_| if row.role == OUTPUT { 0.0 } else { scale * noise(&mut state) }).collect());
    }
    let tensors: Vec<Tensor> = values.iter_mut().zip(&shapes).map(|(data, shape)| Tensor {
        data: data.as_mut_ptr().cast(), device: CPU, ndim: shape.len() as i32, dtype: FLOAT32, shape: shape.as_ptr(), strides: null(),
        byte_offset: 0 }).collect();
    let table: Vec<*const Tensor> = tensors.iter().zip(rows)
        .map(|(tensor, row)| if row.flags & OPTIONAL != 0 { null() } else { tensor as *const Tensor }).collect();

    let mut call = Call { struct_size: std::mem::size_of::<Call>() as u32, tensor_count: forward.arg_count, tensors: table.as_ptr(),
                          stream: null_mut(), workspace: null_mut(), workspace_size: 0 };
    let mut need = Need { struct_size: std::mem::size_of::<Need>() as u32, flags: 0, workspace_size: 0, workspace_align: 0,
                          packed_size: 0, packed_format: null() };
    check(unsafe { (forward.plan_need)(plan, &call, &mut need, &mut error) }, &error)?;
    let align = need.workspace_align.max(1) as usize;
    let mut workspace = vec![0u8; need.workspace_size as usize + align];
    let skip = (align - workspace.as_ptr() as usize % align) % align;
    call.workspace = workspace[skip..].as_mut_ptr().cast();
    call.workspace_size = need.workspace_size;
    check(unsafe { (forward.run)(plan, &call, &mut error) }, &error)?;
    unsafe { (forward.plan_destroy)(plan) };

    let out = unsafe { std::slice::from_raw_parts(tensors[output].data as *const f32, values[output].len()) };
    let norm = out.iter().map(|&x| x as f64 * x as f64).sum::<f64>().sqrt();
    let dot = out.iter().enumerate().map(|(i, &x)| x as f64 * (i * 7919 % 1013) as f64 / 1013.0).sum::<f64>();
    println!("{} {} {}: {} elements, workspace {} bytes", text(library.name), text(library.version), text(library.target), out.len(),
             need.workspace_size);
    println!("checksum norm {:.9} dot {:.9}", norm, dot);
    Ok(())
}

fn main() {
    let path = std::env::args().nth(1).unwrap_or_default();
    if let Err(sentence) = run(&path) {
        eprintln!("call_abi: {}: {}", path, sentence);
        std::process::exit(1);
    }
}
