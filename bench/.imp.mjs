const c=process.cpuUsage(); await import('uuid'); const u=process.cpuUsage(c); console.log('uuid', Math.round((u.user+u.system)/1000),'ms'); process.exit(0);
