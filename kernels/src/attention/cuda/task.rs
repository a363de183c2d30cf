//! A kernel in CUDA C++ as a task of CubeCL, which compiles, keeps and launches it on its stream like its own.

use cubecl::cuda::CudaCompiler;
use cubecl::ir::StorageType;
use cubecl::prelude::*;
use cubecl::{CompilationError, Compiler, CubeTask};
use cubecl_cpp::shared::{CompilationOptions, Elem, Item, SharedMemory};

use super::source::{HASH, THREADS, Variant};

/// A kernel. Its arguments are the buffers that it is launched with, and then the words, as one struct.
pub(super) struct Task(pub(super) Variant);

impl Task {
    fn cube_dim() -> CubeDim {
        CubeDim::new_1d(THREADS)
    }
}

impl KernelMetadata for Task {
    fn id(&self) -> KernelId {
        let tiles = [self.0.rows(), self.0.columns()];
        KernelId::new::<Self>()
            .info((self.0, tiles, HASH))
            .cube_dim(Self::cube_dim())
    }

    fn address_type(&self) -> StorageType {
        u32::as_type_native_unchecked().storage_type()
    }
}

impl CubeTask<CudaCompiler> for Task {
    fn compile(
        &self,
        compiler: &mut CudaCompiler,
        options: &CompilationOptions,
        mode: ExecutionMode,
        address_type: StorageType,
    ) -> Result<CompiledKernel<CudaCompiler>, CompilationError> {
        // CubeCL asks a kernel's own representation for the shared memory of a launch. So it gets that of an empty kernel
        // which declares as much.
        let empty = KernelDefinition {
            buffers: Vec::new(),
            tensor_maps: Vec::new(),
            scalars: Vec::new(),
            cube_dim: Self::cube_dim(),
            body: Scope::root(false),
            options: KernelOptions::default(),
        };
        let mut repr = compiler.compile(empty, options, mode, address_type)?;
        let bytes = Item::scalar(Elem::U8, true);
        let shared = SharedMemory::new_array(0, bytes, self.0.shared_bytes(), 16);
        repr.body.shared_memories = vec![shared];
        Ok(CompiledKernel {
            entrypoint_name: self.0.entry().into(),
            debug_name: Some(self.0.entry()),
            source: self.0.source(),
            repr: Some(repr),
            cube_dim: Self::cube_dim(),
            debug_info: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_gets_the_shared_memory_of_its_kernel() {
        for variant in Variant::all() {
            let task = Task(variant);
            let compiled = task
                .compile(
                    &mut CudaCompiler::default(),
                    &CompilationOptions::default(),
                    ExecutionMode::Checked,
                    task.address_type(),
                )
                .unwrap();
            let repr = compiled.repr.unwrap();
            assert_eq!(repr.shared_memory_size(), variant.shared_bytes());
            let entry = format!("{}(", compiled.entrypoint_name);
            assert_eq!(compiled.source.matches(&entry).count(), 1, "{variant:?}");
        }
    }
}
