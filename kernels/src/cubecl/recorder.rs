//! A runtime with the properties of an H200 that computes nothing: what is launched becomes CUDA C++, as CubeCL's CUDA runtime
//! would make it, and is kept.

use std::sync::{Arc, Mutex};

use burn::backend::cuda::CudaDevice;
use cubecl::bytes::Bytes;
use cubecl::client::ComputeClient;
use cubecl::cuda::{CudaCompiler, CudaRuntime};
use cubecl::device::{DeviceId, DeviceService, ServerUtilitiesHandle};
use cubecl::future::{DynFut, block_on};
use cubecl::ir::features::TypeUsage;
use cubecl::ir::{
    AddressType, DeviceProperties, ElemType, FloatKind, HardwareProperties, IntKind,
    MemoryDeviceProperties, TargetProperties, UIntKind,
};
use cubecl::profile::{ProfileDuration, TimingMethod};
use cubecl::server::{
    Binding, ComputeServer, CopyDescriptor, CubeCount, ExecutionMode, KernelArguments,
    ProfileError, ProfilingToken, ServerCommunication, ServerError, ServerUtilities,
};
use cubecl::stream_id::StreamId;
use cubecl::zspace::{Shape, Strides};
use cubecl::{Compiler, CubeTask, MemoryAllocationMode, MemoryUsage, Runtime};
use cubecl_runtime::allocator::PitchedMemoryLayoutPolicy;
use cubecl_runtime::logging::ServerLogger;
use cubecl_runtime::memory_management::ManagedMemoryHandle;
use cubecl_runtime::storage::{ComputeStorage, ManagedResource};

/// Rows of tensors begin at multiples of it, in bytes, where that wastes little.
const ALIGNMENT: usize = 512;

/// The type of CUDA's storage, of which there is none.
type Storage = <<CudaRuntime as Runtime>::Server as ComputeServer>::Storage;

static LAUNCHED: Mutex<Vec<Launched>> = Mutex::new(Vec::new());

/// A launch.
#[derive(Clone, Debug)]
pub(super) struct Launched {
    /// The kernel's, with the types it is for.
    pub name: String,
    /// CUDA C++.
    pub source: String,
}

/// What has been launched since the last call, by the one test that asks.
pub(super) fn launched() -> Vec<Launched> {
    block_on(Recorder::client(&CudaDevice::default()).sync()).expect("nothing can fail");
    std::mem::take(&mut LAUNCHED.lock().unwrap())
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Recorder;

impl Runtime for Recorder {
    type Compiler = CudaCompiler;
    type Server = Recording;
    type Device = CudaDevice;

    fn client(device: &Self::Device) -> ComputeClient<Self> {
        ComputeClient::load(device)
    }

    fn name(_: &ComputeClient<Self>) -> &'static str {
        "recorder"
    }

    fn require_array_lengths() -> bool {
        CudaRuntime::require_array_lengths()
    }

    fn max_cube_count() -> (u32, u32, u32) {
        CudaRuntime::max_cube_count()
    }

    fn can_read_tensor(shape: &Shape, strides: &Strides) -> bool {
        CudaRuntime::can_read_tensor(shape, strides)
    }

    fn target_properties() -> TargetProperties {
        CudaRuntime::target_properties()
    }

    fn enumerate_devices(_: u16, (): &()) -> Vec<DeviceId> {
        vec![DeviceId::new(0, 0)]
    }
}

/// The server of the runtime, whose buffers have no memory.
#[derive(Debug)]
pub(super) struct Recording(Arc<ServerUtilities<Self>>);

impl DeviceService for Recording {
    fn init(_: DeviceId) -> Self {
        let logger = Arc::new(ServerLogger::default());
        let policy = PitchedMemoryLayoutPolicy::new(ALIGNMENT);
        Self(Arc::new(ServerUtilities::new(
            properties(),
            logger,
            (),
            policy,
        )))
    }

    fn utilities(&self) -> ServerUtilitiesHandle {
        self.0.clone()
    }
}

fn properties() -> DeviceProperties {
    let memory = MemoryDeviceProperties {
        max_page_size: 32 << 30,
        alignment: ALIGNMENT as u64,
    };
    let hardware = HardwareProperties {
        load_width: 128,
        plane_size_min: 32,
        plane_size_max: 32,
        max_bindings: 1024,
        max_shared_memory_size: 227 << 10,
        max_cube_count: CudaRuntime::max_cube_count(),
        max_units_per_cube: 1024,
        max_cube_dim: (1024, 1024, 64),
        num_streaming_multiprocessors: Some(132),
        num_tensor_cores: Some(4),
        min_tensor_cores_dim: Some(8),
        num_cpu_cores: None,
        max_vector_size: usize::MAX,
    };
    let timing = TimingMethod::System;
    let mut properties = DeviceProperties::new(Default::default(), memory, hardware, timing);
    properties.register_address_type(AddressType::U32);
    properties.register_address_type(AddressType::U64);
    for element in [
        ElemType::Float(FloatKind::F32),
        ElemType::Float(FloatKind::BF16),
        ElemType::Int(IntKind::I32),
        ElemType::UInt(UIntKind::U32),
    ] {
        properties.register_type_usage(element, TypeUsage::all());
    }
    properties
}

impl ServerCommunication for Recording {
    const SERVER_COMM_ENABLED: bool = false;
}

impl ComputeServer for Recording {
    type Kernel = Box<dyn CubeTask<CudaCompiler>>;
    type Info = ();
    type MemoryLayoutPolicy = PitchedMemoryLayoutPolicy;
    type Storage = Storage;

    fn initialize_memory(&mut self, _: ManagedMemoryHandle, _: u64, _: StreamId) {}

    fn logger(&self) -> Arc<ServerLogger> {
        self.0.logger.clone()
    }

    fn utilities(&self) -> Arc<ServerUtilities<Self>> {
        self.0.clone()
    }

    fn read(
        &mut self,
        _: Vec<CopyDescriptor>,
        _: StreamId,
    ) -> DynFut<Result<Vec<Bytes>, ServerError>> {
        panic!("a kernel's caller reads on the host, and so waits for the device");
    }

    fn write(&mut self, _: Vec<(CopyDescriptor, Bytes)>, _: StreamId) {}

    fn sync(&mut self, _: StreamId) -> DynFut<Result<(), ServerError>> {
        Box::pin(async { Ok(()) })
    }

    fn get_resource(
        &mut self,
        _: Binding,
        _: StreamId,
    ) -> Result<ManagedResource<<Storage as ComputeStorage>::Resource>, ServerError> {
        unreachable!("there is no memory")
    }

    unsafe fn launch(
        &mut self,
        kernel: Self::Kernel,
        _: CubeCount,
        _: KernelArguments,
        mode: ExecutionMode,
        _: StreamId,
    ) {
        let mut options = <CudaCompiler as Compiler>::CompilationOptions::default();
        options.supports_features.grid_constants = true;
        options.supports_features.fast_math = true;
        let address_type = kernel.address_type();
        let compiled = kernel
            .compile(&mut Default::default(), &options, mode, address_type)
            .expect("it becomes CUDA C++");
        LAUNCHED.lock().unwrap().push(Launched {
            name: compiled.entrypoint_name,
            source: compiled.source,
        });
    }

    fn flush(&mut self, _: StreamId) -> Result<(), ServerError> {
        Ok(())
    }

    fn memory_usage(&mut self, _: StreamId) -> Result<MemoryUsage, ServerError> {
        unreachable!("there is no memory")
    }

    fn memory_cleanup(&mut self, _: StreamId) {}

    fn start_profile(&mut self, _: StreamId) -> Result<ProfilingToken, ServerError> {
        unreachable!("nothing is timed")
    }

    fn end_profile(
        &mut self,
        _: StreamId,
        _: ProfilingToken,
    ) -> Result<ProfileDuration, ProfileError> {
        unreachable!("nothing is timed")
    }

    fn allocation_mode(&mut self, _: MemoryAllocationMode, _: StreamId) {}
}
