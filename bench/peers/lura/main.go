// The engine of KrakenD CE, put together as its own README shows: a configuration, the default proxy
// factory, the gin router. KrakenD CE adds components to it, none of which this work would use.
package main

import (
	"flag"
	"log"
	"os"

	"github.com/gin-gonic/gin"
	"github.com/luraproject/lura/v2/config"
	"github.com/luraproject/lura/v2/logging"
	"github.com/luraproject/lura/v2/proxy"
	luragin "github.com/luraproject/lura/v2/router/gin"
	server "github.com/luraproject/lura/v2/transport/http/server"
)

func main() {
	file := flag.String("c", "krakend.json", "configuration in KrakenD's format")
	flag.Parse()

	service, err := config.NewParser().Parse(*file)
	if err != nil {
		log.Fatal(err)
	}
	logger, err := logging.NewLogger("ERROR", os.Stderr, "")
	if err != nil {
		log.Fatal(err)
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.Use(gin.Recovery())
	factory := luragin.NewFactory(luragin.Config{
		Engine:         engine,
		Middlewares:    []gin.HandlerFunc{},
		HandlerFactory: luragin.EndpointHandler,
		ProxyFactory:   proxy.DefaultFactory(logger),
		Logger:         logger,
		RunServer:      server.RunServer,
	})
	factory.New().Run(service)
}
