// What indexing, streams and backward passes ask of a device, answered by nothing: for fake tensors on "cuda".
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

static const c10::Device DEVICE(c10::DeviceType::CUDA, 0);
using c10::Stream;

struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> {
  c10::Device getDevice() const override { return DEVICE; }
  c10::Device exchangeDevice(c10::Device) const override { return DEVICE; }
  Stream getStream(c10::Device) const noexcept override { return Stream(Stream::DEFAULT, DEVICE); }
  Stream getDefaultStream(c10::Device) const override { return Stream(Stream::DEFAULT, DEVICE); }
  Stream exchangeStream(Stream) const noexcept override { return Stream(Stream::DEFAULT, DEVICE); }
  void record(void**, const Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
};
static const c10::impl::DeviceGuardImplRegistrar registrar(c10::DeviceType::CUDA, new Guard());

namespace at {
struct CUDAHooks : CUDAHooksInterface {
  CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isAvailable() const override { return true; }
  bool isBuilt() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
};
REGISTER_CUDA_HOOKS(CUDAHooks);
} // namespace at
