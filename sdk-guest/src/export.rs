//! What turns a type into a component.

/// Makes a [`Processor`](crate::Processor) the component's own. Once in a crate of type `cdylib`; does nothing on targets other than `wasm32`.
#[cfg(target_arch = "wasm32")]
#[macro_export]
macro_rules! export {
    ($processor:ty) => {
        const _: () = {
            use $crate::bindings::exports::sluicebox::telemetry::plugin;
            use $crate::bindings::processors::exports::sluicebox::telemetry::processor;

            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<Option<$processor>> = const { ::std::cell::RefCell::new(None) };
            }

            struct Component;

            impl plugin::Guest for Component {
                fn configure(config: ::std::string::String) -> Result<(), ::std::string::String> {
                    let configured = <$processor as $crate::Processor>::configure(&config)?;
                    INSTANCE.set(Some(configured));
                    Ok(())
                }
            }

            impl processor::Guest for Component {
                fn process(batch: &$crate::bindings::Batch) -> Result<(), ::std::string::String> {
                    INSTANCE.with_borrow_mut(|instance| match instance {
                        Some(instance) => $crate::Processor::process(instance, &$crate::Batch::__of_call(batch)),
                        None => Err("process was called before configure".into()),
                    })
                }
            }

    $crate::bindings::__export_component!(Component with_types_in $crate::bindings);
    $crate::bindings::processors::__export_processor!(Component with_types_in $crate::bindings::processors);
        };
    };
}

/// Makes a [`Processor`](crate::Processor) the component's own. Once in a crate of type `cdylib`; does nothing on targets other than `wasm32`.
#[cfg(not(target_arch = "wasm32"))]
#[macro_export]
macro_rules! export {
    ($processor:ty) => {
        const _: fn(&str) -> Result<$processor, String> = <$processor as $crate::Processor>::configure;
    };
}

/// Makes a [`Policy`](crate::Policy) the component's own. Once in a crate of type `cdylib`; does nothing on targets other than `wasm32`.
#[cfg(target_arch = "wasm32")]
#[macro_export]
macro_rules! export_policy {
    ($policy:ty) => {
        const _: () = {
            use $crate::bindings::exports::sluicebox::telemetry::plugin;
            use $crate::bindings::policies::exports::sluicebox::telemetry::policy;

            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<Option<$policy>> = const { ::std::cell::RefCell::new(None) };
            }

            struct Component;

            impl plugin::Guest for Component {
                fn configure(config: ::std::string::String) -> Result<(), ::std::string::String> {
                    let configured = <$policy as $crate::Policy>::configure(&config)?;
                    INSTANCE.set(Some(configured));
                    Ok(())
                }
            }

            impl policy::Guest for Component {
                fn decide(
                    traces: &$crate::bindings::TraceBatch,
                    spans: &$crate::bindings::Batch,
                ) -> Result<$crate::bindings::Verdicts, ::std::string::String> {
                    INSTANCE.with_borrow_mut(|instance| match instance {
                        Some(instance) => {
                            let traces = $crate::Traces::__of_call(traces, spans);
                            let mut verdicts = $crate::Verdicts::__none(traces.len());
                            $crate::Policy::decide(instance, &traces, &mut verdicts)?;
                            Ok(verdicts.__into_lists())
                        }
                        None => Err("decide was called before configure".into()),
                    })
                }
            }

    $crate::bindings::__export_component!(Component with_types_in $crate::bindings);
    $crate::bindings::policies::__export_policy!(Component with_types_in $crate::bindings::policies);
        };
    };
}

/// Makes a [`Policy`](crate::Policy) the component's own. Once in a crate of type `cdylib`; does nothing on targets other than `wasm32`.
#[cfg(not(target_arch = "wasm32"))]
#[macro_export]
macro_rules! export_policy {
    ($policy:ty) => {
        const _: fn(&str) -> Result<$policy, String> = <$policy as $crate::Policy>::configure;
    };
}
